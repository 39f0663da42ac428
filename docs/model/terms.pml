/* terms.pml - what the models share: who there is, what a statement says, what makes it acceptable, what the attacker knows.
 * Not a model by itself: connection.pml, registration.pml and renewal.pml include it. Each NO_... takes one ingredient of the protocol out.
 * Cryptography is symbolic: a term is made by who knows its key, or not at all. Proto: docs/protocol.md#statement */

/* Parties (the last has number 1). Machines: control runs on M0, node and twin on M1, foreign, copy, own and watch on the attacker's M2.
 *   control  the network's control plane          node   an agent on somebody else's machine
 *   foreign  another network's control plane      twin   another TD on that machine, started by its host
 *   copy     a control plane with our network id  own    an agent on the attacker's machine
 *                                                 watch  an uptime server on the attacker's machine
 * All seven run accepted measurements in genuine TDs. `attacker` is also the name of a TD that runs the attacker's own code. */
mtype = { app, challenge, certificate, periodic, register, as_uptime, as_agent, as_control, copy, watch, own, twin, node, foreign, control,
          attacker };

#define EVE 15 /* the attacker's ephemeral secret, and his randomness. One is enough: a session always has an honest end of its own */
#define N1  1  /* node ids: N1 is enrolled for M1, N2 for M2; the others are network ids */
#define N2  2
#define NET 3
#define NET_OTHER 4

/* Of each party, by its number: what it fills into its statements, and where its quotes come from. Set once, by these_are(). */
mtype role_of[9];
byte machine_of[9];
byte id_of[9]; /* what it is told to be: a node, or its network */
#define ID_SAID(x) id_of[x]

inline these_are() {
    role_of[control] = as_control; role_of[foreign] = as_control; role_of[copy] = as_control;
    role_of[node] = as_agent; role_of[twin] = as_agent; role_of[own] = as_agent; role_of[watch] = as_uptime;
    machine_of[node] = 1; machine_of[twin] = 1;
    machine_of[foreign] = 2; machine_of[copy] = 2; machine_of[own] = 2; machine_of[watch] = 2; machine_of[attacker] = 2;
    id_of[control] = NET; id_of[foreign] = NET_OTHER; id_of[copy] = NET; id_of[watch] = NET;
    id_of[node] = N1; id_of[twin] = N1; id_of[own] = N2
}

/* What the attacker knows from the start, as sets of parties. */
#define SET(x) (1 << (x))
short tls_keys, instance_keys;
bool opened; /* he has broken his own machine open: he reads what runs there, and knows its TDs' keys */
#define HAS_TLS(x)      (x == attacker || ((tls_keys >> (x)) & 1))
#define HAS_INSTANCE(x) (x == attacker || ((instance_keys >> (x)) & 1))

#ifdef ONLY_LEAK
#define LEAK(n) (ONLY_LEAK == n)
#else
#define LEAK(n) 1
#endif
/* One at a time: nothing; one key of one TD that is not his; all keys of his own TDs, whose machine he has opened. KEYS_OF_... : both. */
inline leaks() {
    if
#if defined(KEYS_OF_NODE) || defined(KEYS_OF_CONTROL)
#ifdef KEYS_OF_NODE
    :: tls_keys = SET(node); instance_keys = SET(node)
#endif
#ifdef KEYS_OF_CONTROL
    :: tls_keys = SET(control); instance_keys = SET(control)
#endif
#else
#if LEAK(0)
    :: true
#endif
#if LEAK(1)
    :: tls_keys = SET(node)
#endif
#if LEAK(2)
    :: instance_keys = SET(node)
#endif
#if LEAK(3)
    :: tls_keys = SET(control)
#endif
#if LEAK(4)
    :: instance_keys = SET(control)
#endif
#if LEAK(5)
    :: tls_keys = SET(own) | SET(watch); instance_keys = SET(own) | SET(watch); opened = true
#endif
#endif
    fi
#if defined(FORGE) || defined(OPENED)
    ; opened = true
#endif
}

/* A statement and what vouches for it. */
typedef Says {
    mtype by;      /* whose TD was quoted, or whose instance key signed */
    bool quoted;   /* a quote beside the signature by the instance key; otherwise that signature alone */
    bool forged;   /* the attacker filled it in: it is signed only if he has the key of the instance it names */
    mtype purpose, role;
    byte r, sid;   /* nonce: the verifier's randomness and the session id */
    byte bc, bs;   /* binder: exporter of the client's and the server's ephemeral secret ... */
    byte br, bsid; /* ... in the context of this nonce */
    mtype inst, spki;
    byte id;       /* node id, or network id */
    short h1, h2;  /* transcript: what was hashed */
    byte from      /* for the claims only: the TLS end whose owner said it; 0: nobody's */
};
Says got, want; /* scratch of the one who appraises, all 0 in between */

inline says(record, p_by, p_quoted, p_purpose, p_role, p_r, p_sid, p_bc, p_bs, p_inst, p_spki, p_id, p_h1, p_h2, p_from) {
    d_step {
        record.by = p_by; record.quoted = p_quoted; record.forged = false; record.purpose = p_purpose; record.role = p_role; record.r = p_r; record.sid = p_sid;
        record.bc = p_bc; record.bs = p_bs; record.br = p_r; record.bsid = p_sid; record.inst = p_inst; record.spki = p_spki;
        record.id = p_id; record.h1 = p_h1; record.h2 = p_h2; record.from = p_from
    }
}
inline forget(record) { says(record, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) }
inline got_is_want() {
    got.purpose = want.purpose; got.role = want.role; got.r = want.r; got.sid = want.sid; got.bc = want.bc; got.bs = want.bs;
    got.br = want.br; got.bsid = want.bsid; got.inst = want.inst; got.spki = want.spki; got.id = want.id; got.h1 = want.h1; got.h2 = want.h2
}

/* ---- what the attacker can show to one with whom he shares a session ---- */

/* The evidence in the certificate of any TD: everybody may connect and see it. */
inline a_certificate(x) { says(got, x, true, certificate, role_of[x], 0, 0, 0, 0, x, x, ID_SAID(x), 0, 0, 0) }

/* A workload of his on x asks the agent for a quote. Nobody can today; this is the most that an interface for it could ever grant: all
 * that the workload may have a say in is as the attacker wants it, the rest is filled in by the agent. */
inline a_workloads_quote(x) {
    d_step { got_is_want(); got.by = x; got.quoted = true; got.purpose = app; got.role = as_agent; got.inst = x; got.spki = x; got.id = ID_SAID(x) }
}

/* A genuine quote of a TD that runs the attacker's code, with all that is wanted in it; a forged one of his machine; a signature by an
 * instance key that he has. */
inline a_quote_of_his_code() { d_step { got_is_want(); got.by = attacker; got.quoted = true; got.forged = true } }
inline a_forged_quote() { d_step { got_is_want(); got.by = own; got.quoted = true; got.forged = true } }
inline a_signature(x) { d_step { got_is_want(); got.by = x; got.quoted = false } }

/* ---- what is compared, and what a weakened model leaves out ---- */

#ifdef NO_MEASUREMENT
#define MEASURED true
#else
#define MEASURED (got.by != attacker)
#endif
#ifdef PIN /* the relying party's policy lists the machines it accepts: M0 and M1 */
#define PINNED (machine_of[got.by] != 2)
#else
#define PINNED true
#endif
#ifdef GENESIS /* the relying party's policy pins the genesis, which the measured settings of a control plane name: the copy's is the attacker's */
#define AS_PINNED (got.by != copy)
#else
#define AS_PINNED true
#endif
#ifdef NO_INSTANCE_KEY
#define INSTANCE_SIGNED true
#else
#define INSTANCE_SIGNED (!got.forged || got.inst == 0 || HAS_INSTANCE(got.inst)) /* 0: whom he likes, so himself */
#endif
#define QUOTE_GOOD (got.quoted && MEASURED && PINNED && AS_PINNED && INSTANCE_SIGNED)

#ifdef NO_PURPOSE
#define PURPOSE_FITS true
#else
#define PURPOSE_FITS (got.purpose == want.purpose)
#endif
#ifdef NO_ROLE
#define ROLE_FITS true
#else
#define ROLE_FITS (got.role == want.role)
#endif
#if defined(NO_NONCE) || defined(NO_NONCE_FIELD)
#define NONCE_FITS true
#else
#define NONCE_FITS (got.r == want.r && got.sid == want.sid)
#endif
#ifdef NO_NONCE
#define CONTEXT_FITS true
#else
#define CONTEXT_FITS (got.br == want.br && got.bsid == want.bsid)
#endif
#ifdef NO_BINDER
#define BINDER_FITS true
#else
#define BINDER_FITS (got.bc == want.bc && got.bs == want.bs && CONTEXT_FITS)
#endif
#ifdef NO_TLS_KEY
#define TLS_KEY_FITS true
#else
#define TLS_KEY_FITS (want.spki == 0 || got.spki == want.spki)
#endif
#ifdef NO_NODE_ID
#define ID_FITS true
#else
#define ID_FITS (want.id == 0 || got.id == want.id)
#endif
#ifdef NO_TRANSCRIPT
#define TRANSCRIPT_FITS true
#else
#define TRANSCRIPT_FITS (got.h1 == want.h1 && got.h2 == want.h2)
#endif
#define INSTANCE_FITS (want.inst == 0 || got.inst == want.inst)
#define STATEMENT_FITS                                                                                                                      \
    (PURPOSE_FITS && ROLE_FITS && NONCE_FITS && BINDER_FITS && TLS_KEY_FITS && ID_FITS && TRANSCRIPT_FITS && INSTANCE_FITS)

/* ---- claims: all of them, or the one that ONLY names ---- */

#if defined(ONLY)
#define CLAIM(name, holds) assert(ONLY != name || (holds))
#else
#define CLAIM(name, holds) assert(holds)
#endif
#if defined(ONLY) && ONLY == 10
#define CLAIM_HONEST(holds) assert(holds)
#else
#define CLAIM_HONEST(holds) skip
#endif
#define CONTROL 1 /* who the client takes for the control plane is one: of its network, at this end of the connection */
#define SECRET  2 /* a secret leaves only to the very TD that was assigned */
#define FRESH   3 /* evidence that is accepted was made for this session and this question */
#define NODE    4 /* who the control plane accepts as a node is a TD on the machine enrolled for it */
#define AGENT   5 /* who an agent takes for the control plane is one */
#define BOOT    6 /* a boot ticket admits one TD, once */
#define ALONE   7 /* a name has one tunnel */
#define AGREE   8 /* both ends saw the same HELLOs */
#define KEPT    9 /* nobody but a measured program can read the secret */
#define HONEST 10 /* false on purpose: the honest run reaches its end */
