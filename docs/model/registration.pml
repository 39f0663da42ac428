/* registration.pml - an agent dials, both sides prove themselves, the control plane accepts it under a node's name.
 * Proto: docs/protocol.md#session, #registration; boot tickets as its list of what is not built yet foresees them. Outer TLS crosses the
 * attacker's network, and hosts are his: they choose the name and the ticket that their TDs are given, and when they start.
 * Bounds: three TDs dial once each; the control plane hears two sessions to their end. Its sessions with the attacker that lead to nothing
 * are not bounded: it says the same to everybody. */
#include "terms.pml"

#define SESSION_A 1 /* TLS ends of the control plane */
#define SESSION_B 2
#define DIAL_NODE 3 /* of the TDs that dial */
#define DIAL_TWIN 4
#define DIAL_OWN  5
#define OF_EVE    20 /* of the control plane, in one more session of the attacker's own */
#define PARTY     32 /* + who it is: of another control plane */
#define OTHER(s)  (s == SESSION_A -> SESSION_B : SESSION_A)
#define OUR_SESSION(e) (peer[e] == SESSION_A || peer[e] == SESSION_B)

/* HELLOs: whose instance key, which node, which randomness (the number of the TLS end; a session id too), and the versions offered:
 * 1 all that the sender speaks, or of them the best; 0 what an edit leaves. */
#define HELLO(i, n, r, v)      ((((i) * 8 + (n)) * 32 + (r)) * 2 + (v))
#define HELLO_CONTROL(i, r, v) (((i) * 32 + (r)) * 2 + (v))

mtype td[6];      /* who dials */
byte peer[6];     /* whose key share came: an end's, or EVE's */
short sent[6];    /* own HELLO; 0: not yet */
short heard[6];   /* the peer's */
byte answers[6];  /* whose randomness, and session id, own evidence answers */
mtype inst_is[6]; /* what the peer's HELLO says */
byte id_is[6];
bool proved[6];   /* a dialer's evidence is out */
bool dead;        /* somebody has refused. That way ends there: what the attacker learns by it he knows anyway */

/* Tickets. 1 and 2 are signed by the provider of N1, for two boots on M1; N2's provider is the attacker, who signs 3 and 4; 5 and 6 are
 * forged. */
#define TICKET_ID      (ticket == 3 || ticket == 4 -> N2 : N1)
#define TICKET_MACHINE (ticket == 3 || ticket == 5 -> 2 : 1)
mtype used_by[7];  /* the instance that the ticket has let in: it may come again, nobody else may */
mtype let_in[7];   /* the same, for the claim */
byte serves_as[3]; /* per session, once it is accepted: the node */

#ifdef NO_TICKET_SIGNATURE
#define TICKET_SIGNED true
#else
#define TICKET_SIGNED (ticket < 5)
#endif
#if defined(NO_TICKET_MACHINE) || defined(NO_MACHINE)
#define TICKET_HERE true
#else
#define TICKET_HERE (TICKET_MACHINE == machine_of[got.by])
#endif
#ifdef NO_TICKET_NODE
#define TICKET_NAMES true
#else
#define TICKET_NAMES (TICKET_ID == id_is[s])
#endif
#ifdef NO_TICKET_ONCE
#define TICKET_FREE true
#else
#define TICKET_FREE (used_by[ticket] == 0 || used_by[ticket] == got.inst)
#endif
#ifdef NO_TICKET
#define TICKET_GOOD (ticket == 1)
#else
#define TICKET_GOOD (TICKET_SIGNED && TICKET_NAMES && TICKET_HERE && TICKET_FREE)
#endif

/* The machine that genesis names for a node. The host of the control plane can hand it another genesis. */
#if defined(NO_PIN) || defined(NO_MACHINE)
#define MACHINE_NAMED true
#elif defined(EDITED_GENESIS)
#define MACHINE_NAMED (machine_of[got.by] == 2)
#else
#define MACHINE_NAMED (machine_of[got.by] == (id_is[s] == N1 -> 1 : 2))
#endif

#define ID_WANTED id_is[s]

/* ---- what an honest end says, and what the attacker shows in sessions that he holds ---- */

inline quote_of_dialer(e) {
    says(got, td[e], true, register, as_agent, answers[e], answers[e], e, peer[e], td[e], td[e], ID_SAID(td[e]), sent[e], heard[e], e)
}
inline quote_of_session(e) {
    says(got, control, true, register, as_control, answers[e], 0, peer[e], e, control, control, NET, heard[e], sent[e], e)
}
inline quote_of_another(x, e) { /* another control plane's, to dialer e */
    says(got, x, true, register, as_control, e, 0, e, PARTY + x, x, x, ID_SAID(x), sent[e], HELLO_CONTROL(x, OF_EVE, 1), PARTY + x)
}
/* To a HELLO that the attacker writes, with the randomness that he is asked to answer, and equal to what his victim has seen. */
inline quote_to_the_attacker() {
    says(got, control, true, register, as_control, want.r, 0, EVE, OF_EVE, control, control, NET, want.h1, HELLO_CONTROL(control, OF_EVE, 1), OF_EVE)
}

inline pick_evidence() {
    if
    :: a_certificate(control)
    :: a_certificate(foreign)
    :: a_certificate(node)
    :: a_certificate(twin)
    :: a_certificate(own)
    :: a_certificate(watch)
    :: proved[DIAL_NODE] -> quote_of_dialer(DIAL_NODE)
    :: proved[DIAL_TWIN] -> quote_of_dialer(DIAL_TWIN)
    :: proved[DIAL_OWN] -> quote_of_dialer(DIAL_OWN)
    :: sent[SESSION_A] != 0 -> quote_of_session(SESSION_A)
    :: sent[SESSION_B] != 0 -> quote_of_session(SESSION_B)
    :: want.purpose == register && want.role == as_control -> quote_to_the_attacker()
#ifndef NO_WORKLOAD_QUOTES
    :: a_workloads_quote(node)
    :: a_workloads_quote(twin)
    :: a_workloads_quote(own)
#endif
    :: a_quote_of_his_code()
#ifdef FORGE
    :: a_forged_quote()
#endif
    fi;
    if
    :: got.by == attacker -> printf("> He shows a genuine quote of a TD that runs his own code.\n")
    :: got.by != attacker && got.from == 0 && got.purpose == certificate && got.role == role_of[got.by] ->
       printf("> He shows the evidence in the certificate of <%e>.\n", got.by)
    :: got.by != attacker && got.from == 0 && got.purpose == app ->
       printf("> A workload of his on <%e> gets a quote over what is wanted; he shows it.\n", got.by)
    :: got.by != attacker && got.from == 0 && got.purpose != app && (got.purpose == register || got.role != role_of[got.by]) ->
       printf("> He shows a quote that he forged with the attestation key of his machine.\n")
    :: got.from != 0 -> printf("> He shows what <%e> says to him.\n", got.by)
    fi
}

/* ---- an agent: one boot of a TD, one session ---- */

#ifdef NO_STATEMENT
#define CERTIFICATE_IS_ENOUGH true
#else
#define CERTIFICATE_IS_ENOUGH false
#endif

inline accept_tls() {
    if
    :: peer[SESSION_A] == e -> peer[e] = SESSION_A; key = control
    :: peer[SESSION_B] == e -> peer[e] = SESSION_B; key = control
    :: peer[e] = PARTY + foreign; key = foreign
#ifdef COPY
    :: peer[e] = PARTY + copy; key = copy
#endif
    :: peer[e] = EVE; key = attacker
    :: HAS_TLS(control) -> peer[e] = EVE; key = control
    :: HAS_TLS(node) -> peer[e] = EVE; key = node
    :: HAS_TLS(own) -> peer[e] = EVE; key = own
    :: HAS_TLS(watch) -> peer[e] = EVE; key = watch
    fi;
    if
    :: peer[e] != EVE -> printf("> The TLS of <%e> goes through to <%e>.\n", td[e], key)
    :: peer[e] == EVE && key == attacker -> printf("> The attacker ends the TLS of <%e>, with a key of his own.\n", td[e])
    :: peer[e] == EVE && key != attacker -> printf("> The attacker ends the TLS of <%e>, with the leaked TLS key of <%e>.\n", td[e], key)
    fi
}

inline receive_hello() {
    if
    :: OUR_SESSION(e) -> answers[e] = peer[e]; inst_is[e] = control; heard[e] = sent[peer[e]]
    :: peer[e] > PARTY -> answers[e] = OF_EVE; inst_is[e] = peer[e] - PARTY; heard[e] = HELLO_CONTROL(inst_is[e], OF_EVE, 1)
    :: peer[e] == EVE ->
       if /* out of a session in which he poses as an agent, out of one more, or his own */
       :: peer[SESSION_A] == EVE && sent[SESSION_A] != 0 -> answers[e] = SESSION_A; inst_is[e] = control
       :: peer[SESSION_B] == EVE && sent[SESSION_B] != 0 -> answers[e] = SESSION_B; inst_is[e] = control
       :: answers[e] = OF_EVE; inst_is[e] = control
       :: answers[e] = EVE; inst_is[e] = attacker
       fi;
       if
       :: heard[e] = HELLO_CONTROL(inst_is[e], answers[e], 1)
       :: heard[e] = HELLO_CONTROL(inst_is[e], answers[e], 0)
       fi
    fi
}

proctype Agent(byte e) {
    mtype key;
    bool session; /* false: the certificate is due; true: the evidence for this session */
    do
    :: atomic {
           !dead && !proved[e] && (session -> !OUR_SESSION(e) || sent[peer[e]] != 0 : true);
           assert(want.purpose == 0);
           if
           :: !session -> accept_tls(); says(want, 0, true, certificate, as_control, 0, 0, 0, 0, 0, key, NET, 0, 0, 0)
           :: else -> receive_hello(); says(want, 0, true, register, as_control, e, 0, e, peer[e], inst_is[e], key, NET, sent[e], heard[e], 0)
           fi;
           if
           :: peer[e] == EVE && !(session && CERTIFICATE_IS_ENOUGH) -> pick_evidence()
           :: peer[e] == EVE && session && CERTIFICATE_IS_ENOUGH
           :: peer[e] != EVE && !session -> a_certificate(key)
           :: OUR_SESSION(e) && session -> quote_of_session(peer[e])
           :: peer[e] > PARTY && session -> quote_of_another(key, e)
           fi;
           if
           :: !session -> want.r = got.r; want.sid = got.sid; want.br = got.br; want.bsid = got.bsid
           :: else
           fi;
           if
           :: QUOTE_GOOD && STATEMENT_FITS
           :: !(QUOTE_GOOD && STATEMENT_FITS) && CERTIFICATE_IS_ENOUGH && session
           :: else -> dead = true
           fi;
           if
           :: dead
           :: !dead && !session -> sent[e] = HELLO(td[e], id_of[td[e]], e, 1); session = true
           :: !dead && session ->
              CLAIM(AGENT, OUR_SESSION(e));
              CLAIM(FRESH, got.from == peer[e]);
              proved[e] = true
           fi;
           forget(got); forget(want)
       }
    od
}

/* ---- the control plane: one session ---- */

/* A dialer's HELLO comes, or the attacker passes on one that was sent to him, as it is or edited. */
inline hello_of(e) {
    answers[s] = e; inst_is[s] = td[e]; id_is[s] = id_of[td[e]];
    if
    :: offer = 1;
       if
       :: peer[s] == EVE -> printf("> He passes the HELLO of <%e> on.\n", td[e])
       :: else
       fi
    :: peer[s] == EVE -> offer = 0; printf("> The attacker takes a version out of the HELLO of <%e> and passes it on.\n", td[e])
    :: peer[s] == EVE && id_is[s] == N2 -> offer = 1; id_is[s] = N1; printf("> The attacker puts another node into the HELLO of <%e> and passes it on.\n", td[e])
    fi;
    heard[s] = HELLO(inst_is[s], id_is[s], e, offer);
    sent[s] = HELLO_CONTROL(control, s, offer)
}

inline any_ticket() {
    if
    :: ticket = 1
    :: ticket = 2
    :: ticket = 3
    :: ticket = 4
    :: ticket = 5
    :: ticket = 6
    fi
}

#define OWN_IS_LOST (opened && id_is[s] == N2) /* a node on a machine that he has opened is what he likes */

inline admit() {
    printf("> The control plane accepts <%e> as N%d, with ticket %d.\n", got.by, id_is[s], ticket);
    CLAIM(NODE, OWN_IS_LOST || peer[s] >= DIAL_NODE && peer[s] <= DIAL_OWN && peer[peer[s]] == s && (id_is[s] != N1 || machine_of[td[peer[s]]] == 1));
    CLAIM(FRESH, OWN_IS_LOST || (got.from != 0 && got.from == peer[s]));
    CLAIM(AGREE, got.from == 0 || (heard[s] == sent[got.from] && sent[s] == heard[got.from]));
    CLAIM(BOOT, (let_in[ticket] == 0 || let_in[ticket] == got.inst) && (id_is[s] != N1 || ticket == 1 || ticket == 2));
    used_by[ticket] = got.inst;
    let_in[ticket] = got.inst;
    serves_as[s] = id_is[s];
#ifndef NO_REPLACE
    if
    :: serves_as[OTHER(s)] == serves_as[s] -> serves_as[OTHER(s)] = 0
    :: else
    fi;
#endif
    CLAIM(ALONE, serves_as[SESSION_A] != serves_as[SESSION_B])
}

inline receive_evidence() {
    assert(want.purpose == 0);
    says(want, 0, true, register, as_agent, s, s, peer[s], s, inst_is[s], 0, ID_WANTED, heard[s], sent[s], 0);
    if
    :: peer[s] == EVE -> pick_evidence()
    :: else -> quote_of_dialer(peer[s])
    fi;
    if
    :: answers[s] == EVE -> inst_is[s] = got.inst; want.inst = got.inst /* his own HELLO says what his evidence says */
    :: else
    fi;
    any_ticket();
    if
    :: QUOTE_GOOD && STATEMENT_FITS && MACHINE_NAMED && TICKET_GOOD -> admit()
    :: else -> dead = true
    fi;
    forget(got); forget(want); ticket = 0
}

proctype Control(byte s) {
    byte ticket;
    bool offer;
    atomic {
        !dead && (s == SESSION_A || peer[SESSION_A] != 0);
        if
        :: peer[s] = DIAL_NODE
        :: peer[s] = DIAL_TWIN
        :: peer[s] = DIAL_OWN
        :: peer[s] = EVE; printf("> The attacker dials the control plane.\n")
        fi
    };
    atomic {
        if
        :: !dead && peer[s] != EVE && peer[peer[s]] == s && sent[peer[s]] != 0 -> hello_of(peer[s])
        :: !dead && peer[s] == EVE && peer[DIAL_NODE] == EVE && sent[DIAL_NODE] != 0 -> hello_of(DIAL_NODE)
        :: !dead && peer[s] == EVE && peer[DIAL_TWIN] == EVE && sent[DIAL_TWIN] != 0 -> hello_of(DIAL_TWIN)
        :: !dead && peer[s] == EVE && peer[DIAL_OWN] == EVE && sent[DIAL_OWN] != 0 -> hello_of(DIAL_OWN)
        :: !dead && peer[s] == EVE -> /* a HELLO of his own, and the rest at once */
           answers[s] = EVE; inst_is[s] = attacker;
           if
           :: id_is[s] = N1
           :: id_is[s] = N2
           fi;
           printf("> He sends a HELLO of his own.\n");
           heard[s] = HELLO(0, id_is[s], EVE, 1); sent[s] = HELLO_CONTROL(control, s, 1);
           receive_evidence();
           goto over
        fi;
        offer = 0
    };
    atomic {
        !dead && (peer[s] == EVE || proved[peer[s]]);
        receive_evidence()
    };
over:
    CLAIM_HONEST(serves_as[SESSION_A] == 0 || serves_as[SESSION_B] == 0 || peer[SESSION_A] == EVE || peer[SESSION_B] == EVE)
}

#ifdef ROLLBACK /* the host of the control plane restores an older database: in it the tickets are not used */
proctype Host() {
    atomic { !dead && used_by[1] != 0; used_by[1] = 0; printf("> The host restores an older database of the control plane.\n") }
}
#endif

init {
    atomic {
        these_are();
        leaks();
        td[DIAL_NODE] = node; td[DIAL_TWIN] = twin; td[DIAL_OWN] = own;
        if /* what its host tells it */
        :: true
        :: id_of[own] = N1
        fi;
        run Control(SESSION_A); run Agent(DIAL_OWN);
#ifndef FEW /* smaller bounds: two TDs, one session */
        run Control(SESSION_B); run Agent(DIAL_TWIN);
#endif
        run Agent(DIAL_NODE)
#ifdef ROLLBACK
        ; run Host()
#endif
    }
}
