// Holds our proofs against the published ICS-23 verifier, @confio/ics23.
//
// Reads one JSON array from stdin; each element is {"root", "key", "proof"} and, for existence, "value", all in
// hexadecimal. Prints a JSON array of what the verifier says of each: true or false.
"use strict";

const { ics23, tendermintSpec, verifyMembership, verifyNonMembership } = require("@confio/ics23");

const octets = (text) => Uint8Array.from(Buffer.from(text, "hex"));

function judge(each) {
  const proof = ics23.CommitmentProof.decode(octets(each.proof));
  const root = octets(each.root);
  const key = octets(each.key);
  return each.value === undefined
    ? verifyNonMembership(proof, tendermintSpec, root, key)
    : verifyMembership(proof, tendermintSpec, root, key, octets(each.value));
}

process.stdout.write(JSON.stringify(JSON.parse(require("fs").readFileSync(0, "utf8")).map(judge)));
