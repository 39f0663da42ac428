/* job_env.h - a job's environment as `ee run` takes it: -e and --env-file. Whole values or none, wiped when freed, never in a message. */
#ifndef EE_JOB_ENV_H
#define EE_JOB_ENV_H
#include "cli/cli.h"

enum { JOB_ENV_MAX = 1024 };
typedef struct job_env {
    char *items[JOB_ENV_MAX + 1]; /* owned "NAME=value", NULL-ended */
    size_t count;
} job_env;
void job_env_free(job_env *env); /* env is the caller's calloc() */
/* NAME, NAME=value, NAME=@FILE, NAME=-. 0, or an exit code after telling. */
int job_env_argument(const cli *c, job_env *env, const char *arg);
/* NAME=value lines; empty ones and those that begin with # are skipped. */
int job_env_file(const cli *c, job_env *env, const char *path);
#endif
