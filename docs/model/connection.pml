/* connection.pml - a client is told an instance by its control plane, then sends a secret to it through a channel, twice.
 * The TLS sessions are opened as docs/protocol.md#certificate, #requests and #channel say. The tunnel between them, and the control plane
 * that relays it, are the network, and that is the attacker's: what the client receives is his choice at that moment, out of all he can
 * have by then.
 * A server says the same to everybody who asks, so it is not a process here but what `a_statement` gives; the attacker may ask as often as
 * he likes. Bounds: one client, one session to the control plane, two channels. */
#include "terms.pml"

#define OUTER 1 /* TLS ends of the client: to the control plane, then to the instance */
#define INNER 2
#define AGAIN 3
#define ANOTHER 4 /* an end of another client, whose sessions the attacker only watches */
#define SERVERS 16 /* the other end of client end c is SERVERS + c; of a session of the attacker's own with x: OF_EVE + x */
#define OF_EVE  32

mtype at[5];     /* who is at the other end of the client's TLS: 0 nobody yet */
bool strict[5];  /* this end asks for a quote. Its randomness has the number of the end */
mtype assigned, base, key, who;
byte base_id;
bool quote;

#ifdef RIGHT_CONTROL
#define HIJACK (c != OUTER)
#else
#define HIJACK true
#endif
#define ROLE_WANTED (c == OUTER -> as_control : as_agent)
#define ID_WANTED   (c == OUTER -> NET : 0)
#define OTHER_END(c)     (at[c] == attacker -> EVE : SERVERS + c)
#define TRANSCRIPT(x, r, q) (role_of[x] == as_control -> 0 : 2 * (r) + (q))

/* What x answers at the other end of client end c to the challenge that came from there. */
inline a_statement(x, c, q) {
    says(got, x, q, challenge, role_of[x], c, 0, c, SERVERS + c, x, x, ID_SAID(x), TRANSCRIPT(x, c, q), 0, SERVERS + c)
}
/* The same in a session that the attacker opened, with the challenge that he has just read or with one of his own. */
inline a_statement_to_the_attacker(x, r, q) {
    says(got, x, q, challenge, role_of[x], r, 0, EVE, OF_EVE + x, x, x, ID_SAID(x), TRANSCRIPT(x, r, q), 0, OF_EVE + x)
}

inline any_of(x) {
    if
    :: x = control
    :: x = foreign
    :: x = node
    :: x = own
    :: x = watch
#ifdef COPY
    :: x = copy
#endif
    fi
}

/* Handshake: with a server, the attacker in between only passing it on; or with the attacker, who must have the key of what he shows. */
inline handshake() {
#ifdef RIGHT_CONTROL /* suppose that the client comes to its control plane in any case */
    if
    :: c == OUTER -> who = control
    :: else -> any_of(who)
    fi;
#else
    any_of(who);
#endif
    if
    :: at[c] = who; key = who; printf("> The client's TLS goes through to <%e>.\n", who)
    :: HIJACK && HAS_TLS(who) -> at[c] = attacker; key = who; printf("> The attacker ends the client's TLS, with the leaked TLS key of <%e>.\n", who)
    :: HIJACK && who == control -> at[c] = attacker; key = attacker; printf("> The attacker ends the client's TLS, with a key of his own.\n")
    fi;
    who = 0
}

/* What the attacker may show as evidence to a client whose session c he holds: in a certificate, or as an answer. */
inline pick_evidence() {
    any_of(who);
    if
    :: quote = true
    :: quote = false
    fi;
    if
    :: quote -> a_certificate(who); printf("> He shows the evidence in the certificate of <%e>.\n", who)
    :: a_statement_to_the_attacker(who, EVE, quote); printf("> He asks <%e> in a session of his own, and shows the answer.\n", who)
    :: want.purpose == challenge -> a_statement_to_the_attacker(who, c, quote); printf("> He passes the challenge on to <%e> in a session of his own, and shows the answer.\n", who)
    :: a_statement(who, ANOTHER, quote); printf("> He shows what <%e> has said to another client.\n", who)
    :: c == AGAIN && at[INNER] == who && strict[INNER] == quote -> a_statement(who, INNER, quote);
       printf("> He shows what <%e> has said to this client before.\n", who)
#ifndef NO_WORKLOAD_QUOTES
    :: quote && role_of[who] == as_agent -> a_workloads_quote(who); printf("> A workload of his on <%e> gets a quote over what is wanted; he shows it.\n", who)
#endif
    :: quote && who == own -> a_quote_of_his_code(); printf("> He shows a genuine quote of a TD that runs his own code.\n")
#ifdef FORGE
    :: quote && who == own -> a_forged_quote(); printf("> He shows a quote that he forged with the attestation key of his machine.\n")
#endif
    :: !quote && who == own -> a_signature(attacker); printf("> He signs what is wanted with an instance key of his own.\n")
    :: !quote && HAS_INSTANCE(who) -> a_signature(who); printf("> He signs what is wanted with the instance key of <%e>.\n", who)
    fi;
    who = 0; quote = false
}

#ifdef NO_INSTANCE
#define INSTANCE_ASSIGNED true
#else
#define INSTANCE_ASSIGNED (assigned == 0 || got.inst == assigned)
#endif

/* Who runs on his opened machine is lost to him, and the network's own control plane may assign it: there is nothing to claim then. */
#define OWN_IS_LOST (at[OUTER] == control && assigned == own && opened)

inline appraise_certificate() {
    says(want, 0, true, certificate, ROLE_WANTED, 0, 0, 0, 0, 0, key, ID_WANTED, 0, 0, 0);
    if
    :: at[c] != attacker -> a_certificate(key)
    :: else -> /* where he can fill in what is wanted, it is the instance of a key of his, or the one that was assigned */
       if
       :: want.inst = attacker
       :: assigned != 0 && assigned != attacker -> want.inst = assigned
       fi;
       if
       :: want.id == 0 -> want.id = NET
       :: else
       fi;
       pick_evidence();
       want.inst = 0; want.id = ID_WANTED
    fi;
    want.r = got.r; want.sid = got.sid; want.br = got.br; want.bsid = got.bsid; /* a certificate answers nobody's challenge */
    if
    :: QUOTE_GOOD && STATEMENT_FITS && INSTANCE_ASSIGNED -> base = got.inst; base_id = got.id
    :: else -> goto refused
    fi;
    forget(got); forget(want)
}

inline appraise_answer() {
    says(want, 0, strict[c], challenge, ROLE_WANTED, c, 0, c, OTHER_END(c), base, key, base_id, (c == OUTER -> 0 : 2 * c + strict[c]), 0, 0);
    if
    :: at[c] != attacker -> a_statement(at[c], c, strict[c])
    :: else -> pick_evidence()
    fi;
    if
    :: STATEMENT_FITS && (strict[c] -> QUOTE_GOOD : !got.quoted && got.by == base)
    :: else -> goto refused
    fi;
    CLAIM(FRESH, OWN_IS_LOST || (at[c] != attacker && got.from == SERVERS + c));
    forget(got); forget(want)
}

inline told() {
    CLAIM(CONTROL, at[OUTER] == control);
    if /* both are enrolled; a foreign control plane has nodes of its own only; an agent does not assign */
    :: role_of[at[OUTER]] == as_control || at[OUTER] == attacker -> assigned = own
    :: at[OUTER] == control || at[OUTER] == copy || at[OUTER] == attacker -> assigned = node
    :: at[OUTER] == attacker -> assigned = attacker
    fi;
    printf("> The client is told to go to <%e>.\n", assigned);
    if
#ifndef SIGNED
    :: strict[INNER] = true; strict[AGAIN] = true
#endif
#ifndef STRICT
    :: true
#endif
    fi
}

inline send_secret() {
    printf("> The client sends its secret.\n");
    CLAIM(SECRET, OWN_IS_LOST || at[c] == assigned);
    CLAIM(KEPT, OWN_IS_LOST || (at[c] != attacker && !(opened && machine_of[at[c]] == 2)))
}

proctype Client() {
    byte c = OUTER;
    do
    :: c > AGAIN -> break
    :: else ->
       atomic {
           handshake();
           appraise_certificate();
#ifndef NO_STATEMENT
           appraise_answer();
#endif
           if
           :: c == OUTER -> told()
           :: else -> send_secret()
           fi;
           c++
       }
    od;
    CLAIM_HONEST(at[OUTER] == attacker || at[INNER] == attacker || at[AGAIN] == attacker);
refused: /* leads nowhere: what he learns by trying he knows anyway */
    skip
}

init {
    atomic {
        these_are();
leaks();
        run Client()
    }
}
