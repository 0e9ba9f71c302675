package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	photos "homeward/internal/testphotos"
	"homeward/internal/testworker"
	"homeward/worker"
)

// beHomeward makes the test's own binary the command, for tests that need processes of it.
const beHomeward = "HOMEWARD_TEST_BE_HOMEWARD"

func TestMain(m *testing.M) {
	testworker.Hurry()
	worker.Hook()
	if os.Getenv(beHomeward) != "" {
		os.Exit(run())
	}
	testscript.Main(m, map[string]func(){"homeward": func() { os.Exit(run()) }})
}

// TestCommands runs the scripts in testdata against the real command with real models.
func TestCommands(t *testing.T) {
	modelsDir, err := filepath.Abs("../../models")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOMEWARD_MODELS", modelsDir)
			e.Setenv("HOMEWARD_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", e.WorkDir)
			for _, name := range []string{photos.Obama, photos.Obama2, photos.Obama3, photos.Biden, photos.Astronaut} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), photos.Read(t, name), 0o644); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "none.jpg"), photos.NoFace(t), 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "two.jpg"), photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama2)), 0o644)
		},
	})
}
