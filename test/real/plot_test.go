package real

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

const (
	plotWidth, plotHeight = 860, 150
	plotLeft, plotTop     = 30, 24
)

var plotColors = []string{"#1f77b4", "#d95f02", "#2ca02c"}

// writePlot draws series over time as SVG, those of one unit in one panel.
func writePlot(path, title string, interval time.Duration, all []*series) error {
	var panels [][]*series
	for _, s := range all {
		if n := len(panels); n > 0 && panels[n-1][0].unit == s.unit {
			panels[n-1] = append(panels[n-1], s)
		} else {
			panels = append(panels, []*series{s})
		}
	}
	step := plotHeight + 2*plotTop
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" `, plotWidth+2*plotLeft,
		len(panels)*step+2*plotTop)
	fmt.Fprintf(&b, `font-family="sans-serif" font-size="12">`+"\n")
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n")
	fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="14">%s</text>`+"\n", plotLeft, plotTop, title)
	for i, panel := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", plotLeft, 2*plotTop+i*step)
		drawPanel(&b, interval, panel)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// drawPanel draws from zero, so that what is flat looks flat.
func drawPanel(b *strings.Builder, interval time.Duration, panel []*series) {
	highest := 1.0
	for _, s := range panel {
		for _, v := range s.values {
			if v > highest { // not so for NaN
				highest = v
			}
		}
	}
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="none" stroke="#ccc"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(b, `<text x="2" y="12">%s</text>`+"\n", quantity(highest, panel[0].unit))
	count := len(panel[0].values)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%v</text>`+"\n", plotWidth, plotHeight+14,
		time.Duration(count)*interval)
	for i, s := range panel {
		color := plotColors[i%len(plotColors)]
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", i*200, plotHeight+14, color, s.name)
		fmt.Fprintf(b, `<path fill="none" stroke="%s" d="`, color)
		pen := "M"
		for j, v := range s.values {
			if math.IsNaN(v) {
				pen = "M"
				continue
			}
			fmt.Fprintf(b, "%s%.1f %.1f", pen, float64(j)*plotWidth/float64(max(1, count-1)), plotHeight*(1-v/highest))
			pen = "L"
		}
		b.WriteString("\"/>\n")
	}
}
