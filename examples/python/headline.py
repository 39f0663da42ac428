"""The three calls in Python: run a private job, pay a contractor, reach a private app. Start a network with `ee devnet up` first."""
from easyenclave import connect, run_private_job, transfer_credits

result = run_private_job(image="myapp:latest", env={"SECRET": "value"})
transfer_credits(to="contractor-id", amount="$200")
client = connect("app-name")
response = client.get("/api/private")

simulated = " (simulated TDX)" if result.attestation.simulated else ""
print(f"attested  node {result.receipt.node}{simulated}")
metered = f"{result.receipt.vcpu_seconds} vCPU-s at {result.receipt.price_per_vcpu_hour}/vCPU-h"
print(f"job       exit {result.exit_code}, cost {result.cost} ({metered}), printed: {result.stdout}", end="")
print("paid      $200.00 to contractor-id")
print(f"app-name  HTTP {response.status_code} {response.text}", end="")
