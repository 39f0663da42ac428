package raw

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is committed is what tools/gen_go.sh makes of bindings/swig now.
func TestCommittedFilesAreCurrent(t *testing.T) {
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("eesdk_raw.go")
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.Command("swig", "-version").Output()
	if err != nil {
		t.Skip("swig is not installed")
	}
	made := strings.Fields(strings.SplitN(string(committed), "Version ", 2)[1])[0]
	if !strings.Contains(string(version), "SWIG Version "+made+"\n") {
		t.Skipf("the committed files were made by SWIG %s, which is not the one here", made)
	}
	folder := t.TempDir()
	if output, err := exec.Command(filepath.Join(root, "tools/gen_go.sh"), folder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, name := range []string{"eesdk_raw.go", "raw_wrap.c"} {
		want, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what tools/gen_go.sh makes: run it and commit the result", name)
		}
	}
}
