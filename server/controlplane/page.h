/* page.h - lists in pages: what was asked for, and the answer with its cursor. Not for reading rows. Called by api.c and whoever lists. */
#ifndef CP_PAGE_H
#define CP_PAGE_H
#include <jansson.h>

enum { PAGE_MAX = 100 };
typedef struct page_request {
    char after[64]; /* the cursor of the page before; "" = from the begin */
    unsigned limit; /* 1 to PAGE_MAX */
} page_request;

/* {"items": [...], "next": null, or a cursor}. items has one more than the limit when there is more, which is cut off. NULL: no memory. */
json_t *page_json(json_t *items, const page_request *page, const char *cursor_field);
#endif
