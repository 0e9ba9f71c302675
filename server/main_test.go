package server_test

import (
	"os"
	"testing"

	"homeward/internal/testworker"
	"homeward/worker"
)

func TestMain(m *testing.M) {
	testworker.Hurry()
	testworker.Crashes()
	worker.Hook()
	os.Exit(m.Run())
}
