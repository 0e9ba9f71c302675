package registry

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestRegions(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	names := map[string]string{"en": " Sichuan ", "zh": "四川"}
	for _, g := range []Region{{Code: "cn-51", Names: names}, {Code: "CN", Names: map[string]string{"zh": "中国"}}} {
		if err := r.PutRegion(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if names["en"] != " Sichuan " {
		t.Error("the caller's names were changed")
	}
	all, err := r.Regions(t.Context())
	if err != nil || len(all) != 2 || all[0].Code != "CN" || all[1].Code != "CN-51" || !maps.Equal(all[1].Names, map[string]string{"en": "Sichuan", "zh": "四川"}) {
		t.Fatal(all, err)
	}
	if err := r.PutRegion(t.Context(), Region{Code: "CN", Names: map[string]string{"en": "<b>China</b>"}}); err != nil {
		t.Fatal(err)
	}
	if all, err = r.Regions(t.Context()); err != nil || len(all) != 2 || all[0].Name("en") != "<b>China</b>" {
		t.Error(all, err)
	}
	for name, c := range map[string]struct {
		g     Region
		field string
	}{
		"no code":         {Region{Names: names}, "code"},
		"blank":           {Region{Code: "CN 51", Names: names}, "code"},
		"everywhere":      {Region{Code: Everywhere, Names: names}, "code"},
		"hyphen first":    {Region{Code: "-CN", Names: names}, "code"},
		"hyphen last":     {Region{Code: "CN-", Names: names}, "code"},
		"two hyphens":     {Region{Code: "CN--51", Names: names}, "code"},
		"other letters":   {Region{Code: "四川", Names: names}, "code"},
		"too long":        {Region{Code: strings.Repeat("A", MaxRegion+1), Names: names}, "code"},
		"no names":        {Region{Code: "CN"}, "names"},
		"empty name":      {Region{Code: "CN", Names: map[string]string{"en": " "}}, "names"},
		"empty language":  {Region{Code: "CN", Names: map[string]string{"": "China"}}, "names"},
		"control in name": {Region{Code: "CN", Names: map[string]string{"en": "a\nb"}}, "names"},
	} {
		var field *FieldError
		if err := r.PutRegion(t.Context(), c.g); !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRegionName(t *testing.T) {
	both := Region{"CN", map[string]string{"en": "China", "zh": "中国"}}
	for _, c := range []struct {
		g              Region
		language, want string
	}{
		{both, "zh", "中国"}, {both, "zh-CN", "中国"}, {both, "en", "China"}, {both, "th", "China"}, {both, "", "China"},
		{Region{"CN", map[string]string{"zh": "中国", "th": "จีน"}}, "fr", "จีน"},
		{Region{Code: "CN"}, "en", "CN"},
	} {
		if got := c.g.Name(c.language); got != c.want {
			t.Errorf("%v in %q: %q, want %q", c.g, c.language, got, c.want)
		}
	}
}
