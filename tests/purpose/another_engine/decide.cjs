// Decides questions with Cedar's own build for WebAssembly: {policies, questions: [{request, entities}]} on standard
// input, a list of {decision, errors} on standard output.
const cedar = require("@cedar-policy/cedar-wasm/nodejs");
const fs = require("fs");

function must(answer) {
  if (answer.type !== "success") throw new Error(JSON.stringify(answer));
  return answer;
}

const { policies, questions } = JSON.parse(fs.readFileSync(0, "utf-8"));
must(cedar.preparsePolicySet("policies", { staticPolicies: policies }));
const decided = questions.map(({ request, entities }) => {
  const { response } = must(cedar.statefulIsAuthorized({ ...request, preparsedPolicySetId: "policies", entities }));
  return { decision: response.decision, errors: response.diagnostics.errors.length };
});
process.stdout.write(JSON.stringify(decided));
