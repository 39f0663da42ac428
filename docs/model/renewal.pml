/* renewal.pml - an open session between a control plane and an agent, in which the control plane asks for evidence again and again.
 * Proto: docs/protocol.md#session, purpose periodic. What the attacker can do to a TLS session whose ends are honest is to hold bytes back.
 * Bounds: CHALLENGES questions. */
#include "terms.pml"

#define CHALLENGES 4
#define AGENT_END   1
#define CONTROL_END 2

chan asks = [CHALLENGES] of { byte };    /* the session's two directions, in order and unaltered; how long it takes is his choice */
chan answers = [CHALLENGES] of { byte, byte }; /* nonce, and for the claim: which question it was made for */
byte asked;    /* questions so far: the number of the last is its randomness */
bool due;      /* the last one is not answered */
byte accepted;

inline answer(r, made_for) {
    says(got, node, true, periodic, as_agent, r, CONTROL_END, AGENT_END, CONTROL_END, node, node, ID_SAID(node), 0, 0, made_for)
}

proctype Agent() {
    byte r;
end:
    do
    :: atomic { asks ? r -> answers ! r, r; printf("> The agent answers question %d.\n", r); r = 0 }
    od
}

proctype Control() {
    byte r, made_for;
end:
    do
    :: atomic { asked < CHALLENGES -> asked++; due = true; asks ! asked; printf("> The control plane asks, question %d.\n", asked) }
    :: atomic {
           answers ? r, made_for ->
           if
           :: !due /* nobody asked */
           :: else ->
              due = false;
              answer(r, made_for);
              says(want, 0, true, periodic, as_agent, asked, CONTROL_END, AGENT_END, CONTROL_END, node, 0, ID_SAID(node), 0, 0, 0);
              if
              :: QUOTE_GOOD && STATEMENT_FITS ->
                 printf("> The answer to question %d comes, and is taken for the answer to question %d.\n", made_for, asked);
                 CLAIM(FRESH, got.from == asked);
                 accepted++;
                 CLAIM_HONEST(accepted < CHALLENGES)
              :: else
              fi;
              forget(got); forget(want)
           fi;
           r = 0; made_for = 0
       }
    od
}

init { atomic { these_are(); run Agent(); run Control() } }
