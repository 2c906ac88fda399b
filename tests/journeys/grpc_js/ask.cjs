// Asks a gateway every kind of question as a client that knows the contract alone: reads one job as JSON from standard
// input, signs each question with the operator's key by what the contract says of OperatorProof, and writes the answers.
'use strict'
const crypto = require('node:crypto')
const fs = require('node:fs')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const job = JSON.parse(fs.readFileSync(0, 'utf8'))
const contract = loader.loadSync('jukinet/inquiry/v1/inquiry.proto', {
  includeDirs: job.protos, keepCase: true, longs: String, enums: String, bytes: String, defaults: true,
})
const { InquiryService } = grpc.loadPackageDefinition(contract).jukinet.inquiry.v1
const certificate = fs.readFileSync(job.certificate)
const key = crypto.createPrivateKey(fs.readFileSync(job.operator_key))

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

function signed (method, question) {
  const definition = InquiryService.service[method]
  const { context, ...asked } = question
  const now = { seconds: Math.floor(Date.now() / 1000), nanos: 0 }
  const parts = [
    Buffer.from(job.agency),
    sha256(new crypto.X509Certificate(certificate).raw),
    ...['request_id', 'purpose', 'case_reference', 'operator'].map(name => Buffer.from(context[name])),
    moment(now),
    moment(now),
    Buffer.from(`jukinet.inquiry.v1.${method}Request`),
    sha256(definition.requestSerialize(asked)),
  ]
  const statement = Buffer.concat([Buffer.from('jukinet operator proof v1\0'), ...parts.map(length)])
  const operatorProof = { signed_at: now, logged_on_at: now, signature: crypto.sign(null, statement, key) }
  return { ...question, context: { ...context, operator_proof: operatorProof } }
}

function told (error) {
  return { code: error.code, message: error.details }
}

function one (client, method, question) {
  return new Promise(resolve => {
    const deadline = new Date(Date.now() + 30_000)
    client[method](signed(method, question), { deadline }, (error, answer) => resolve(error ? told(error) : answer))
  })
}

function many (client, questions) {
  return new Promise(resolve => {
    const answers = []
    const call = client.InquireBatch({ deadline: new Date(Date.now() + 30_000) })
    call.on('data', answer => answers.push(answer))
    call.on('error', error => resolve([...answers, told(error)]))
    call.on('end', () => resolve(answers))
    for (const question of questions) call.write(signed('InquireBatch', question))
    call.end()
  })
}

async function main () {
  const credentials = grpc.credentials.createSsl(fs.readFileSync(job.ca), fs.readFileSync(job.key), certificate)
  const client = new InquiryService(job.address, credentials, {
    'grpc.ssl_target_name_override': job.server_name,
    'grpc.default_authority': job.server_name,
  })
  const answers = []
  for (const { method, question } of job.single) answers.push(await one(client, method, question))
  const batch = job.batch.length ? await many(client, job.batch) : []
  client.close()
  process.stdout.write(JSON.stringify({ answers, batch }))
}

main()
