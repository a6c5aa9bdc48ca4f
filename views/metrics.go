package views

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector shows what the directory holds, when it is asked.
type collector struct {
	d                                   *Directory
	sensors, silent, open, watermarkLag *prometheus.Desc
}

// NewCollector returns the metrics of a directory: of the whole installation, not of this process's partitions.
func NewCollector(d *Directory) prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &collector{
		d:       d,
		sensors: desc("stream_processor_sensors", "Known sensors."),
		silent:  desc("stream_processor_sensors_silent", "Sensors that have sent nothing for the idle timeout."),
		open:    desc("stream_processor_windows_open", "Windows that are not published yet."),
		watermarkLag: desc("stream_processor_watermark_lag_seconds",
			"How far the watermark of the slowest sensor that is not silent lies behind the clock."),
	}
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	sensors, silent, open, oldest := c.d.Counts()
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(c.sensors, float64(sensors))
	gauge(c.silent, float64(silent))
	gauge(c.open, float64(open))
	lag := 0.0
	if oldest.Valid {
		lag = c.d.now().Sub(time.UnixMilli(oldest.V)).Seconds()
	}
	gauge(c.watermarkLag, lag)
}
