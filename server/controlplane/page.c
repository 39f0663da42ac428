/* page.c - see page.h. */
#include "page.h"

json_t *page_json(json_t *items, const page_request *page, const char *cursor_field) {
    json_t *next = json_null();
    if (json_array_size(items) > page->limit) {
        next = json_incref(json_object_get(json_array_get(items, page->limit - 1), cursor_field));
        (void)json_array_remove(items, page->limit);
    }
    return json_pack("{s:O, s:o}", "items", items, "next", next);
}
