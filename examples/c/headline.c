/* headline.c - the three calls of easyenclave, and what came of them. Runs as it is beside a devnet (`ee devnet up`).
 * Build: cc headline.c $(pkg-config --cflags --libs eesdk) */
#include <eesdk/eesdk.h>

#include <stdio.h>

int main(void) {
    ee_error err = {0};
    ee_result *result = NULL;
    ee_app *client = NULL;
    ee_response *response = NULL;
    int failed = ee_run_private_job(NULL, EE_JOB(.image = "myapp:latest", .env = EE_LIST("SECRET=value")), &result, &err) ||
                 ee_transfer_credits(NULL, "contractor-id", "$200", NULL, NULL, NULL, &err) ||
                 ee_connect(NULL, "app-name", NULL, &client, &err) || ee_get(client, "/api/private", &response, &err);

    if (failed) {
        fprintf(stderr, "%s: %s\n  %s\n", err.word, err.message, err.hint);
    } else {
        /* Texts of a result and a response are NUL-ended past their length. */
        printf("%s%d %s\n", (const char *)ee_result_output(result, EE_STDOUT).data, ee_response_status(response),
               (const char *)ee_response_body(response).data);
    }
    ee_response_free(response);
    ee_app_free(client);
    ee_result_free(result);
    return failed ? ee_status_exit_code(err.status) : 0;
}
