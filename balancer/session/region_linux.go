package session

import (
	"runtime"
	"syscall"
	"unsafe"
)

const (
	hugePage = 2 << 20
	// hugeFrom is from what size on values are asked to stand in huge pages. In
	// what is smaller and used here and there, a few would take it all.
	hugeFrom = 32 << 20
)

// reserve takes n values from the system instead of the heap: they hold no
// pointers, and counted as heap they would double what the collector lets
// grow. They are zero and take no memory until they are touched. Large pages
// halve the time of a lookup among millions. Where the system refuses, the heap
// has to do. The memory is given back with the whole Store.
func reserve[T entry | cell](s *Store, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	b, err := syscall.Mmap(-1, 0, size+hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]T, n)
	}
	runtime.AddCleanup(s, func(b []byte) { syscall.Munmap(b) }, b) // nobody is left to hear of an error
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (hugePage - 1)
	aligned := b[skip : skip+size]
	if size >= hugeFrom {
		syscall.Madvise(aligned, syscall.MADV_HUGEPAGE) // advice: without it, it is slower
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(aligned))), n)
}
