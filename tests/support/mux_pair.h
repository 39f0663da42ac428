/* mux_pair.h - two connections wired back to back under a fake clock, and frames made by hand for one that is alone.
 * For tests of the mux and of what stands on it. No sockets, no sleeping. */
#ifndef MUX_PAIR_H
#define MUX_PAIR_H
#include "mux/mux.h"

typedef struct mux_pair {
    eei_mux *dialer, *listener;
    uint64_t now_ms;
} mux_pair;

void mux_pair_init(mux_pair *pair, const eei_mux_options *dialer, const eei_mux_options *listener); /* `dialed` is set here */
void mux_pair_clear(mux_pair *pair);
/* One transmit of at most max bytes handed to the other side; returns the bytes moved. Fails the test on any error. */
size_t mux_move(eei_mux *from, eei_mux *to, size_t max, uint64_t now_ms);
void mux_pair_settle(mux_pair *pair); /* until both are quiet */

/* Messages that are on their way for a while: one direction of a long link. */
enum { MUX_LINE_MAX = 4096 };
typedef struct mux_line {
    struct {
        uint8_t *data;
        size_t len;
        uint64_t due_ms;
    } at[MUX_LINE_MAX];
    size_t first, count;
} mux_line;
void mux_line_put(mux_line *line, eei_mux *from, uint64_t now_ms, uint64_t delay_ms, size_t max); /* about max bytes enter it */
void mux_line_get(mux_line *line, eei_mux *to, uint64_t now_ms); /* what is due comes out; to = NULL throws it away */

/* One frame made by hand, as a message of its own. */
ee_status mux_inject(eei_mux *mux, uint8_t type, uint16_t flags, uint32_t stream, ee_span payload, uint64_t now_ms, ee_error *err);
ee_status mux_inject_open(eei_mux *mux, uint32_t stream, uint32_t window, const char *payload, ee_error *err); /* at time 0 */
ee_status mux_inject_window(eei_mux *mux, uint32_t stream, uint32_t bytes, ee_error *err);
ee_status mux_inject_data(eei_mux *mux, uint32_t stream, size_t len, ee_error *err); /* zeros */

/* Everything the mux wants to send, as frames; payloads point into `bytes`. */
enum { MUX_SENT_MAX = 4096 };
typedef struct mux_sent {
    eei_buf bytes;
    size_t count;
    eei_frame frames[MUX_SENT_MAX];
} mux_sent;
void mux_sent_take(mux_sent *sent, eei_mux *mux, size_t max, uint64_t now_ms); /* one transmit */
void mux_sent_take_all(mux_sent *sent, eei_mux *mux, uint64_t now_ms);
const eei_frame *mux_sent_find(const mux_sent *sent, uint8_t type, uint32_t stream); /* the first, or NULL */
void mux_sent_clear(mux_sent *sent);

/* The next event must be of this kind; returns its stream. */
eei_stream *mux_expect(eei_mux *mux, eei_mux_event_kind kind, eei_mux_event *out);
void mux_expect_none(eei_mux *mux);
#endif
