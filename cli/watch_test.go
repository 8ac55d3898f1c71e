package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatcher(t *testing.T) {
	disk := map[string]mark{"a": {size: 1}, "b": {size: 1}}
	w := newWatcher(func(path string) mark {
		m, ok := disk[path]
		return mark{size: m.size, file: m.file, changed: m.changed, missing: !ok}
	})
	files := []string{"a"}
	w.loading(files)
	poll := func(why string, want bool) {
		t.Helper()
		if got := w.poll(files); got != want {
			t.Fatalf("%s: %v, want %v", why, got, want)
		}
	}
	poll("nothing happened", false)
	poll("nothing happened again", false)
	disk["a"] = mark{size: 2}
	poll("it changed just now", false)
	disk["a"] = mark{size: 3}
	poll("it is still being written", false)
	poll("it was the same for two polls", true)
	w.loading(files)
	poll("it was loaded, good or bad", false)
	disk["a"] = mark{size: 3, file: 9}
	poll("another file took its place", false)
	poll("and stays", true)
	w.loading(files)
	disk["a"] = mark{size: 3, file: 9, changed: time.Unix(5, 0)}
	poll("same size, other time", false)
	disk["a"] = mark{size: 3, file: 9}
	poll("it went back before it was loaded", false)
	poll("so nothing differs", false)
	delete(disk, "a")
	poll("it vanished", false)
	poll("and is still missing: loading will tell", true)
	w.loading(files)
	poll("told once", false)

	files = []string{"a", "b"}
	w.found(files)
	poll("a file that the new configuration names", false)
	poll("is not a change", false)
	disk["b"] = mark{size: 2}
	poll("but then it changed", false)
	poll("and stays", true)
}

// Editors replace files, and platforms swap a symbolic link to the directory.
func TestStatFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1000, 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return path
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path := write("x.conf", "abc")
	before := statFile(path)
	if statFile(path) != before || before.missing {
		t.Fatal("an untouched file differs")
	}
	check(os.Rename(write("x.conf.new", "abd"), path)) // same size, same time
	if statFile(path) == before {
		t.Fatal("a replaced file is not noticed")
	}
	write("v1/c", "1")
	write("v2/c", "2")
	link := filepath.Join(dir, "data")
	check(os.Symlink("v1", link))
	before = statFile(filepath.Join(link, "c"))
	check(os.Symlink("v2", link+".new"))
	check(os.Rename(link+".new", link))
	if statFile(filepath.Join(link, "c")) == before {
		t.Fatal("a swapped link is not noticed")
	}
	if !statFile(filepath.Join(dir, "nothing")).missing {
		t.Fatal("a missing file is there")
	}
}
