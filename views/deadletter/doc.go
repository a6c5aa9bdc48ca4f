// Package deadletter looks at traffic-rejects, and sends rejected messages through the pipeline again. It is what
// `gantry dlq` runs.
//
// A redriven message is a new record of traffic-raw: the original bytes, keyed by the sensor that they name and placed
// by it, with the source of the reject in gantry-redrive, the first arrival in gantry-received-at and, where asked for,
// the reason that is let pass in gantry-waive. It is judged as if it had come when it first came, by what is known now.
//
// Once: each reject is redriven at most once, whoever asks, how often, and whatever breaks in between. The redrive is
// looked for on traffic-raw itself before anything is sent, so there is no record of redrives that could disagree with
// the log. Two redrivers could both look, find nothing and both send; therefore both write under the same transactional
// id, and a redriver looks only after it has taken the id. Taking it ends the transaction of the one before, committed
// or aborted, and the brokers refuse everything that that one sends later. So what an earlier redriver has committed is
// seen by the look (which reads committed records up to the high watermark, and waits for open transactions), and what
// it has not committed never will be. A redriver that is killed between look and send has sent nothing; one that is
// killed in a transaction has its records aborted; one that is killed behind a commit is found by the next. A redriver
// that was fenced, or that cannot tell whether its commit went through, stops, and asks to be run again.
//
// What cannot be looked for is not sent: where retention has deleted that part of traffic-raw where a redrive of the
// reject would be, nobody can tell whether there was one.
//
// A message that is rejected again is a reject of its own, with the chain back to the first in its headers. A selection
// by filter leaves it alone, unless another reason is waived now or it is asked for (Again): so that a selection that is
// redriven twice does nothing the second time.
//
// What the package does not do: it does not judge. It sends what can be sent, and the pipeline decides. It keeps no
// message in memory, but 16 bytes of each redrive, and one bit, in words of 64, of each rejected offset.
package deadletter
