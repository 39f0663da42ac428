/* headline.c - the three calls of easyenclave, and what came of them. Runs as it is beside a devnet (`ee devnet up`).
 * Build: cc headline.c $(pkg-config --cflags --libs eesdk) */
#include <eesdk/eesdk.h>

#include <stdio.h>

static void tell(const ee_result *result, const ee_response *response) {
    char cost[32], price[32];
    unsigned long long metered = ee_result_vcpu_ms(result);
    /* Texts of a result and a response are NUL-ended past their length. */
    printf("attested  node %s%s\n", ee_result_node(result), ee_verdict_simulated(ee_result_attestation(result)) ? " (simulated TDX)" : "");
    printf("job       exit %d, cost %s (%llu.%03llu vCPU-s at %s/vCPU-h), printed: %s", ee_result_exit_code(result),
           ee_money_format(ee_result_cost(result), cost), metered / 1000, metered % 1000, ee_money_format(ee_result_price(result), price),
           (const char *)ee_result_output(result, EE_STDOUT).data);
    printf("paid      $200.00 to contractor-id\n");
    printf("app-name  HTTP %d %s", ee_response_status(response), (const char *)ee_response_body(response).data);
}

int main(void) {
    ee_error err = {0};
    ee_result *result = NULL;
    ee_app *client = NULL;
    ee_response *response = NULL;
    int failed = ee_run_private_job(NULL, EE_JOB(.image = "myapp:latest", .env = EE_LIST("SECRET=value")), &result, &err) ||
                 ee_transfer_credits(NULL, "contractor-id", "$200", NULL, NULL, NULL, NULL, &err) ||
                 ee_connect(NULL, "app-name", NULL, &client, &err) || ee_get(client, "/api/private", &response, &err);

    if (failed)
        fprintf(stderr, "%s: %s\n  %s\n", err.word, err.message, err.hint);
    else
        tell(result, response);
    ee_response_free(response);
    ee_app_free(client);
    ee_result_free(result);
    return failed ? ee_status_exit_code(err.status) : 0;
}
