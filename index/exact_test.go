package index_test

import (
	"testing"

	"homeward/index"
	"homeward/index/indextest"
)

func TestExactConforms(t *testing.T) {
	indextest.Run(t, func(dim int) index.Index { return index.NewExact(dim) })
}
