"""The three calls of easyenclave, and what came of them. Runs as it is beside a devnet (`ee devnet up`)."""
from easyenclave import run_private_job, transfer_credits, connect

result = run_private_job(image="myapp:latest", env={"SECRET": "value"})
transfer_credits(to="contractor-id", amount="$200")
client = connect("app-name")
response = client.get("/api/private")

print(result)
print(response.status_code, response.text)
