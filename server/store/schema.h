/* schema.h - the tables, as numbered steps. Not for queries. Called by the store when it opens a file. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

extern const char *const store_schema_steps[]; /* step n makes schema n + 1 out of schema n; frozen once released */
extern const int store_schema_count;
#endif
