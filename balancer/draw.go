package balancer

// drawing picks members at random in proportion to their weights, in constant
// time (Walker's alias method, as Vose 1991 builds it): of a column drawn
// evenly, either its own member or its alias is taken. nil draws evenly.
type drawing struct {
	own   []uint32 // share of the column that is its own member's, of 2^32-1
	alias []int32
}

func newDrawing(slots []slot) *drawing {
	n := len(slots)
	sum, even := 0, true
	for i := range slots {
		w := slots[i].endpoint.Upstream.Weight()
		sum += w
		even = even && w == slots[0].endpoint.Upstream.Weight()
	}
	if even {
		return nil
	}
	d := &drawing{own: make([]uint32, n), alias: make([]int32, n)}
	share := make([]float64, n)
	var small, large []int32
	for i := range slots {
		share[i] = float64(slots[i].endpoint.Upstream.Weight()) * float64(n) / float64(sum)
		d.own[i], d.alias[i] = ^uint32(0), int32(i)
		if share[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		d.own[s], d.alias[s] = uint32(share[s]*float64(^uint32(0))), l
		share[l] -= 1 - share[s]
		if share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return d
}

// coin is a second random number where weights need one.
func (v *View) coin() uint32 {
	if v.drawing == nil {
		return 0
	}
	return uint32(v.random())
}

// draw takes a member by weight. r chooses the column, coin the side of it.
func (v *View) draw(r, coin uint32) int {
	i := below(r, len(v.slots))
	if d := v.drawing; d != nil && coin > d.own[i] {
		return int(d.alias[i])
	}
	return i
}

// drawTwo takes two different members by weight.
func (v *View) drawTwo(r uint64) (int, int) {
	n := len(v.slots)
	if v.drawing == nil {
		i := below(uint32(r>>32), n)
		j := below(uint32(r), n-1)
		if j >= i {
			j++
		}
		if n == 1 {
			j = 0
		}
		return i, j
	}
	coins := v.random()
	i := v.draw(uint32(r>>32), uint32(coins>>32))
	for range 4 { // the same one again is as good as a choice of one
		j := v.draw(uint32(r), uint32(coins))
		if j != i {
			return i, j
		}
		r, coins = v.random(), v.random()
	}
	return i, i
}
