/* link_internal.h - what link.c, pipe.c and splice.c share. Not for anybody outside sdk/src/net. */
#ifndef EEI_LINK_INTERNAL_H
#define EEI_LINK_INTERNAL_H
#include "net/link.h"

uv_loop_t *eei_link_loop(const eei_link *link);
/* Something of the link is on the loop (a handle, a worker): eei_link_free()'s done waits for as many leaves as there were enters. */
void eei_link_enter(eei_link *link);
void eei_link_leave(eei_link *link);
/* Look at the deadlines again by then. */
void eei_link_due(eei_link *link, uint64_t deadline_ms);

/* The link's pipes: a list of all, and one of those to move on at the end of this turn. */
eei_pipe **eei_link_pipes(eei_link *link);
eei_pipe **eei_link_dirty(eei_link *link);

struct eei_pipe {
    eei_pipe *prev, *next, *next_dirty;
    eei_link *link; /* NULL once it ended */
    eei_stream *stream;
    eei_channel *channel;
    eei_pipe_callbacks callbacks;
    void (*on_eof)(void *user);
    bool opened, fresh, eof_told, fed_end, sent_end, ended, dirty;
    bool freed, working;
    int depth; /* callbacks are on the stack: not freed before they are off it */
    uv_work_t work;
    eei_link *work_link;
};
void eei_pipe_move(eei_pipe *pipe);                        /* as far as bytes and room go */
void eei_pipe_finish(eei_pipe *pipe, const ee_error *why); /* on_end, once; leaves the link */
void eei_pipe_tick(eei_pipe *pipe, uint64_t now_ms);       /* its deadline */
#endif
