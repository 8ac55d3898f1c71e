package autoscale

import (
	"errors"

	"github.com/rs/zerolog"
)

// Drivers makes drivers. What outlives a change of the configuration, the
// local processes, is theirs together.
type Drivers struct {
	log     zerolog.Logger
	nursery *nursery
}

// NewDrivers returns Drivers that keep what they must in dir; empty: nowhere.
func NewDrivers(dir string, log zerolog.Logger) *Drivers {
	return &Drivers{log: log, nursery: newNursery(dir, log)}
}

// Make returns the driver that cfg describes.
func (d *Drivers) Make(cfg DriverConfig) (Driver, error) {
	switch {
	case cfg.Exec != nil:
		return &execDriver{*cfg.Exec, d.log}, nil
	case cfg.Webhook != nil:
		return newWebhook(*cfg.Webhook)
	case cfg.Process != nil:
		if err := d.nursery.open(); err != nil {
			return nil, err
		}
		return &processDriver{*cfg.Process, d.nursery}, nil
	}
	return nil, errors.New("BUG: a driver of no kind")
}
