package balancer

import (
	"encoding/binary"
	"math/bits"

	"jetway/tenant"
)

// HashBy says what policy hash goes by.
type HashBy struct {
	What   HashWhat
	Header string // of HashHeader: name of the field in lower case, as tenant.Fields wants it
}

// HashWhat is the part of a request that is hashed.
type HashWhat string

const (
	HashTenant HashWhat = "tenant"
	HashPath   HashWhat = "path"
	HashSource HashWhat = "source"
	HashHeader HashWhat = "header"
)

// hashRequest hashes what the cluster's policy goes by; 0 where the request
// does not have it. It is the same in every process, so that load balancers
// side by side agree. Nothing secret is in it: who aims at one member by
// chosen keys is stopped by the bound on its load.
func (c *Cluster) hashRequest(r *Request, f *tenant.Found) uint64 {
	var h uint64
	switch by := &c.Config.HashBy; by.What {
	case HashTenant:
		if f.Outcome != tenant.Known {
			return 0
		}
		h = mix(uint64(f.ID) + 1)
	case HashPath:
		h = hashBytes(0, r.Path)
	case HashSource:
		a := r.Client.As16()
		h = hashBytes(0, a[:])
	case HashHeader:
		if r.Fields == nil {
			return 0
		}
		value, next := r.Fields.Field(by.Header, 0)
		if next < 0 || len(value) == 0 {
			return 0
		}
		h = hashBytes(0, value)
	}
	return max(h, 1)
}

// hashBytes hashes eight bytes at a time, multiply and fold as wyhash does.
func hashBytes(seed uint64, b []byte) uint64 {
	h := seed ^ uint64(len(b))*0x9e3779b97f4a7c15
	for ; len(b) >= 8; b = b[8:] {
		h = fold(h^binary.LittleEndian.Uint64(b), 0xa0761d6478bd642f)
	}
	var rest uint64
	for i, c := range b {
		rest |= uint64(c) << (8 * i)
	}
	return mix(fold(h^rest, 0xe7037ed1a0b428db))
}

func hashString(seed uint64, s string) uint64 { return hashBytes(seed, []byte(s)) }

// fold multiplies to 128 bits and folds the halves.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x8ebc6af09c88c6e3, b)
	return hi ^ lo
}

// mix spreads a word over all of its bits (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
