package tenant

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a huge page where there are any (x86-64, arm64).
const hugePage = 2 << 20

// madvCollapse is MADV_COLLAPSE, of Linux 6.1 and newer; it takes about a
// millisecond per huge page.
const madvCollapse = 25

// adviseHuge asks the kernel for huge pages behind a large table: with pages
// of 4 KiB nearly every look into it would miss the processor's cache of
// addresses as well. It is advice: where it is not taken nothing is lost.
func adviseHuge(lines []line) {
	size := uintptr(len(lines)) * unsafe.Sizeof(line{})
	start := uintptr(unsafe.Pointer(unsafe.SliceData(lines)))
	skip := -start & (hugePage - 1)
	if size < skip+hugePage {
		return
	}
	whole := (size - skip) &^ (hugePage - 1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(lines))), size)
	syscall.Madvise(b[skip:skip+whole], syscall.MADV_HUGEPAGE) // for pages to come
	syscall.Madvise(b[skip:skip+whole], madvCollapse)          // for those that were in use before
}
