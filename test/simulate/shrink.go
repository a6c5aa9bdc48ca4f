package simulate

import "fmt"

// Shrink returns options with fewer kinds of faults, and fewer steps before healing begins, under which the run still
// breaks a guarantee, and the result under them, with its story. It tries each kind once and then halves the steps, so
// what it returns is short and not always the shortest.
func Shrink(o Options) (Options, Result) {
	o.Story = false
	res := Run(o)
	for k := range faultKind(faultKinds) {
		fewer := o
		fewer.Mask = o.Mask.with(k)
		if r := Run(fewer); r.Violation != "" {
			o, res = fewer, r
		}
	}
	for cut := res.Steps / 2; cut > 0; {
		fewer := o
		fewer.Steps = res.Steps - cut
		if r := Run(fewer); r.Violation != "" {
			o, res = fewer, r
			cut = min(cut, res.Steps-1)
		} else {
			cut /= 2
		}
	}
	o.Story = true
	return o, Run(o)
}

// Command is what runs these options again, alone and with its story.
func (o Options) Command() string {
	c := fmt.Sprintf("make simulate SEED=%d", o.Seed)
	if o.Mask != 0 {
		c += " MASK=" + o.Mask.String()
	}
	if o.Steps != 0 {
		c += fmt.Sprintf(" STEPS=%d", o.Steps)
	}
	if o.Stages {
		c += " STAGES=1"
	}
	if o.Without != "" {
		c += fmt.Sprintf(" WITHOUT='%s'", o.Without)
	}
	return c
}
