#!/usr/bin/env python3
"""The client library's own bad days, with real processes: slow readers, repeated keys, a control plane that restarts or hangs."""
# deadline: 300
import hashlib
import subprocess
import unittest

from devnet import DevnetCase


class SlowReader(DevnetCase):
    def test_much_output_and_a_slow_reader(self):
        """Output fills every queue on the way while the reader does nothing: what arrives then is every byte, in order."""
        count = 1_000_000
        text = "".join(f"{i}\n" for i in range(1, count + 1)).encode()
        self.assertGreater(len(text), 6 << 20)  # past the client's queue, so that the agent had to stop
        pipeline = f"set -o pipefail; ee run myapp:latest -- seq 1 {count} | (sleep 2; md5sum)"
        result = subprocess.run(["bash", "-c", pipeline], env=self.net.env, capture_output=True, text=True, timeout=100)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.split()[0], hashlib.md5(text).hexdigest())
        self.assertIn("exit 0", result.stderr)  # and the receipt's output hash was right


if __name__ == "__main__":
    unittest.main(verbosity=2)
