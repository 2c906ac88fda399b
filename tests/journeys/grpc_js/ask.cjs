// Asks a node every kind of question as a client that knows the contract alone. Its argument says, as JSON, whom to ask and
// as whom. Each line of standard input is a question, which it signs by what the contract says, with the operator's key
// (OperatorProof) or the counter's (SignedIdentityCheck), or what a file job is to order. It writes a line for each: the
// answer, serialised again, or the refusal.
'use strict'
const crypto = require('node:crypto')
const { once } = require('node:events')
const fs = require('node:fs')
const readline = require('node:readline')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const job = JSON.parse(process.argv[2])
const files = ['inquiry', 'watch', 'recall', 'disclosure'].map(name => `jukinet/${name}/v1/${name}.proto`)
const contract = loader.loadSync(files, {
  includeDirs: job.protos, keepCase: true, longs: String, enums: String, bytes: String,
})
const { inquiry, watch, recall, disclosure } = grpc.loadPackageDefinition(contract).jukinet
const services = [
  inquiry.v1.InquiryService, watch.v1.WatchService, recall.v1.RecallService, disclosure.v1.DisclosureService,
]
const certificate = fs.readFileSync(job.certificate)
const key = crypto.createPrivateKey(fs.readFileSync(job.signing_key))

function length (part) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(part.length)
  return Buffer.concat([bytes, part])
}

function moment (stamp) {
  const bytes = Buffer.alloc(12)
  bytes.writeBigInt64BE(BigInt(stamp.seconds))
  bytes.writeInt32BE(stamp.nanos, 8)
  return bytes
}

function sha256 (bytes) {
  return crypto.createHash('sha256').update(bytes).digest()
}

function signed (definition, question) {
  const now = { seconds: Math.floor(Date.now() / 1000), nanos: 0 }
  return question.check ? checked(question, now) : proven(definition, question, now)
}

function checked (question, now) {
  const check = disclosure.v1.IdentityCheck.serialize({ ...question.check, checked_at: now })
  const statement = Buffer.concat([Buffer.from('jukinet identity check v1\0'), check])
  return { ...question, check: { check, signature: crypto.sign(null, statement, key) } }
}

function proven (definition, question, now) {
  const { context, ...asked } = question
  const [, namespace] = definition.path.match(/^\/(.+)\.[^.]+$/)
  const parts = [
    Buffer.from(job.agency),
    sha256(new crypto.X509Certificate(certificate).raw),
    ...['request_id', 'purpose', 'case_reference', 'operator'].map(name => Buffer.from(context[name])),
    moment(now),
    moment(now),
    Buffer.from(`${namespace}.${definition.requestType.type.name}`),
    sha256(definition.requestSerialize(asked)),
  ]
  const statement = Buffer.concat([Buffer.from('jukinet operator proof v1\0'), ...parts.map(length)])
  const operatorProof = { signed_at: now, logged_on_at: now, signature: crypto.sign(null, statement, key) }
  return { ...question, context: { ...context, operator_proof: operatorProof } }
}

// The order to ask this as a signed file job, as `jukinet/ledger/verify/batch_job.py` says.
function ordered ({ context, subjects, fields }) {
  const persons = subjects.map(subject => JSON.stringify(subject) + '\n').join('')
  const order = JSON.stringify({
    format: 'jukinet-batch-job/1',
    agency: job.agency,
    purpose: context.purpose,
    case: context.case_reference,
    ordered_by: context.operator,
    ordered_at: new Date().toISOString().slice(0, 19) + 'Z',
    fields: fields.map(name => name.replace('IDENTITY_FIELD_', '')),
    max_age: 0,
    for_watch: false,
    sealed_until: '',
    persons: subjects.length,
    persons_sha256: sha256(persons).toString('hex'),
  })
  const signature = crypto.sign(null, Buffer.from('jukinet batch job v1\0' + order), key).toString('base64')
  return [order, JSON.stringify({ signature }), persons].join('\n')
}

function one (client, method, question) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + 30_000)
    client[method](question, { deadline }, (error, answer) => error ? reject(error) : resolve(answer))
  })
}

const streams = {}

async function next (client, method, question) {
  const call = streams[method] ??= client[method]({ deadline: new Date(Date.now() + 60_000) })
  const coming = once(call, 'data')
  call.write(question)
  try {
    const [answer] = await coming
    return answer
  } catch (error) {
    delete streams[method]
    throw error
  }
}

async function answered (clients, method, question) {
  const client = clients.find(each => method in each)
  const { service } = client.constructor
  const ask = service[method].requestStream ? next : one
  try {
    const answer = await ask(client, method, signed(service[method], question))
    return { answer: service[method].responseSerialize(answer).toString('base64') }
  } catch (error) {
    return { code: error.code, message: error.details }
  }
}

async function main () {
  const credentials = grpc.credentials.createSsl(fs.readFileSync(job.ca), fs.readFileSync(job.key), certificate)
  const options = { 'grpc.ssl_target_name_override': job.server_name, 'grpc.default_authority': job.server_name }
  const clients = services.map(Service => new Service(job.address, credentials, options))
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { order, method, question } = JSON.parse(line)
    const result = order ? { job: ordered(order) } : await answered(clients, method, question)
    process.stdout.write(JSON.stringify(result) + '\n')
  }
  for (const call of Object.values(streams)) {
    call.end()
    call.resume()
    await once(call, 'end')
  }
  for (const client of clients) client.close()
}

main()
