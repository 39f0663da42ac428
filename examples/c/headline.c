/* headline.c - the three calls in C: run a private job, pay a contractor, reach a private app. Start a network with `ee devnet up` first.
 * Build: cc headline.c $(pkg-config --cflags --libs eesdk) */
#include <eesdk/eesdk.h>
#include <stdio.h>

int main(void) {
    ee_error err = {0};
    ee_result *result = NULL;
    ee_app *client = NULL;
    ee_response *response = NULL;
    char cost[32];
    int failed = 0;

    if (ee_run_private_job(NULL, EE_JOB(.image = "myapp:latest", .env = EE_LIST("SECRET=value")), &result, &err) ||
        ee_transfer_credits(NULL, "contractor-id", "$200", NULL, NULL, NULL, &err) || ee_connect(NULL, "app-name", NULL, &client, &err) ||
        ee_get(client, "/api/private", &response, &err)) {
        fprintf(stderr, "%s: %s\n  %s\n", err.word, err.message, err.hint);
        failed = 1;
    } else {
        printf("attested  node %s%s\n", ee_result_node(result), ee_verdict_simulated(ee_result_attestation(result)) ? " (simulated TDX)" : "");
        printf("job       exit %d, cost %s, printed: %s", ee_result_exit_code(result), ee_money_format(ee_result_cost(result), cost),
               (const char *)ee_result_output(result, EE_STDOUT).data);
        printf("paid      $200.00 to contractor-id\n");
        printf("app-name  HTTP %d %s", ee_response_status(response), (const char *)ee_response_body(response).data);
    }
    ee_response_free(response);
    ee_app_free(client);
    ee_result_free(result);
    return failed;
}
