// loop.js MODULES FOLDER UNIX_S - the peer in JavaScript on FOLDER's quote.bin, collateral.json and root.der: a number in, that many
// verifications, microseconds of processor time for each out. Started by tests/bench/bench_peers.py.
"use strict";
const fs = require("fs");
const path = require("path");
const { QuoteVerifier } = require(path.resolve(process.argv[2], "node_modules/@phala/dcap-qvl"));

const [quote, collateral, root] = ["quote.bin", "collateral.json", "root.der"].map((name) => fs.readFileSync(path.join(process.argv[3], name)));
const verifier = QuoteVerifier.newWithRootCa(root);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const start = process.cpuUsage();
    for (let i = 0; i < Number(line); i++) {
        const { status } = verifier.verify(new Uint8Array(quote), JSON.parse(collateral.toString()), Number(process.argv[4]));
        if (status !== "UpToDate") throw new Error(`the peer says ${status}`);
    }
    const { user, system } = process.cpuUsage(start);
    console.log((user + system) / Number(line));
});
