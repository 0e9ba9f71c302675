package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	photos "homeward/internal/testphotos"
)

// fetch asks as a browser does that follows no redirect; headers are names and values in turn.
func (s *testServer) fetch(t *testing.T, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got, string(body)
}

// TestLanguage asks for pages and problems in both languages, and changes from one to the other.
func TestLanguage(t *testing.T) {
	s := newTestServer(t)

	for name, tc := range map[string]struct {
		headers []string
		lang    string
	}{
		"nothing said":        {nil, "en"},
		"the browser's":       {[]string{"Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"},
		"chosen":              {[]string{"Accept-Language", "en-GB", "Cookie", "homeward_lang=zh"}, "zh"},
		"English chosen":      {[]string{"Accept-Language", "zh-CN", "Cookie", "homeward_lang=en"}, "en"},
		"a language unknown":  {[]string{"Accept-Language", "fr, de;q=0.5"}, "en"},
		"a cookie of nothing": {[]string{"Accept-Language", "zh", "Cookie", "homeward_lang=../x"}, "zh"},
		"a header of rubbish": {[]string{"Accept-Language", strings.Repeat("-;q=,", 500)}, "en"},
	} {
		t.Run(name, func(t *testing.T) {
			got, page := s.fetch(t, "/signin", tc.headers...)
			if got.Header.Get("Content-Language") != tc.lang || !strings.Contains(page, `<html lang="`+tc.lang+`">`) {
				t.Errorf("Content-Language %q, page begins %.60q, want %s", got.Header.Get("Content-Language"), page, tc.lang)
			}
			if strings.Contains(page, "登录") != (tc.lang == "zh") || strings.Contains(page, "no value") {
				t.Errorf("the page is not in %s: %s", tc.lang, page)
			}
		})
	}

	for _, tc := range []struct{ to, back, want, cookie string }{
		{"zh", "/signin?back=%2Fsearch", "/signin?back=%2Fsearch", "zh"},
		{"en", "/", "/", "en"},
		{"xx", "/signin", "/signin", ""},
		{"zh", "https://example.org/", "/", "zh"},
		{"zh", "//example.org/", "/", "zh"},
		{"zh", `/\example.org`, "/", "zh"},
		{"zh", "javascript:alert(1)", "/", "zh"},
		{"zh", "", "/", "zh"},
	} {
		got, _ := s.fetch(t, "/language?"+url.Values{"to": {tc.to}, "back": {tc.back}}.Encode())
		var cookie string
		for _, c := range got.Cookies() {
			if c.Name == "homeward_lang" {
				cookie = c.Value
			}
		}
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != tc.want || cookie != tc.cookie {
			t.Errorf("to %s and back to %q: %d %q with cookie %q", tc.to, tc.back, got.StatusCode, got.Header.Get("Location"), cookie)
		}
	}

	// A page names the other languages, with the way back.
	_, page := s.fetch(t, "/signin?back=%2Fcases%2Fc_1")
	if !strings.Contains(page, `href="/language?to=zh&amp;back=%2fsignin%3fback%3d%252Fcases%252Fc_1" lang="zh" hreflang="zh"`) {
		t.Errorf("no way to Chinese and back: %s", page)
	}
}

// TestScriptText fetches what pages' scripts say.
func TestScriptText(t *testing.T) {
	s := newTestServer(t)
	got, script := s.fetch(t, "/text/zh.js")
	tag := got.Header.Get("ETag")
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || tag == "" ||
		!strings.Contains(got.Header.Get("Cache-Control"), "max-age") || !strings.HasPrefix(script, "export default {") || !strings.Contains(script, "正在保存") {
		t.Errorf("%d %v %.80q", got.StatusCode, got.Header, script)
	}
	if again, body := s.fetch(t, "/text/zh.js", "If-None-Match", tag); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("what the browser has is sent again: %d, %d bytes", again.StatusCode, len(body))
	}
	if other, _ := s.fetch(t, "/text/en.js"); other.Header.Get("ETag") == tag {
		t.Error("two languages have one tag")
	}
	for _, path := range []string{"/text/fr.js", "/text/zh.json", "/text/..%2fzh.js"} {
		if got, _ := s.fetch(t, path); got.StatusCode == http.StatusOK {
			t.Errorf("%s is there", path)
		}
	}
}

// TestProblemsInChinese makes mistakes, and reads what they were in Chinese.
func TestProblemsInChinese(t *testing.T) {
	s := newTestServer(t)
	for name, tc := range map[string]struct {
		method, path, body string
		want               string
	}{
		"no such case":       {"GET", "/cases/c_none", "", "没有这项内容，或者已被删除。请核对编号。"},
		"no such path":       {"GET", "/nowhere", "", "此路径没有内容。接口说明见 /api/v1/docs。"},
		"dates swapped":      {"POST", "/cases", `{"gallery": "missing", "born": {"from": "2009", "to": "2001"}}`, "请检查出生日期：后一个日期不能早于前一个，也不能晚于今天。"},
		"huma finds it":      {"POST", "/cases", `{"gallery": "lost", "names": []}`, "请选择失踪儿童或寻亲儿童。"},
		"without own words":  {"GET", "/cases?limit=1000", "", "填写的内容有误，请修改后重新提交。（limit）"},
		"an unknown field":   {"GET", "/cases?colour=red", "", "填写的内容有误，请修改后重新提交。（colour）"},
		"a photo of nothing": {"POST", "/searches", "", "文件是空的，请重新发送照片。"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tc.method, s.URL+"/api/v1"+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.Key)
			r.Header.Set("Accept-Language", "zh-CN")
			r.Header.Set("Content-Type", "application/json")
			if tc.body == "" {
				r.Header.Set("Content-Type", "image/jpeg")
			}
			got, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			var p struct{ Type, Detail string }
			if err := json.NewDecoder(got.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if p.Detail != tc.want || got.Header.Get("Content-Language") != "zh" {
				t.Errorf("%d %s in %q: %q, want %q", got.StatusCode, p.Type, got.Header.Get("Content-Language"), p.Detail, tc.want)
			}
		})
	}
}

// latin gives what a page says in Latin letters: texts, and names for those who do not see. What people wrote, names of
// languages, and words that Chinese has no others for are left out.
const latin = `(() => {
	const own = e => e.closest('[dir=auto], [lang]:not(html), .brand, code') === null;
	const out = [], note = t => { if (t && /[A-Za-z]{3,}/.test(t.replace(/Homeward|DNA|log₁₀|JavaScript/g, ''))) out.push(t.trim()); };
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) if (own(walk.currentNode.parentElement) && !walk.currentNode.parentElement.matches('script, noscript')) note(walk.currentNode.data);
	for (const e of document.querySelectorAll('[aria-label], [alt], [title], [placeholder]')) {
		if (own(e)) for (const a of ['aria-label', 'alt', 'title', 'placeholder']) note(e.getAttribute(a));
	}
	return out.join('\n');
})()`

// TestPagesInChinese chooses Chinese on a phone, and then reads no English.
func TestPagesInChinese(t *testing.T) {
	site := newSite(t)
	photo := filepath.Join(t.TempDir(), "child.jpg")
	if err := os.WriteFile(photo, photos.Read(t, photos.Obama2), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, "http://127.0.0.1:"+site.port, "chinese")
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)))
	chinese := func(where string) {
		t.Helper()
		if said := b.eval(latin); said != "" {
			t.Errorf("%s says in English:\n%s", where, said)
		}
		b.picture(where)
	}

	b.open("/search")
	b.until(`location.pathname === "/signin"`)
	b.do(chromedp.Click(chromedp.CSS(".languages a[lang=zh]")))
	b.see("h1", "登录")
	b.until(`location.pathname === "/signin" && new URLSearchParams(location.search).get("back") === "/search" && document.documentElement.lang === "zh"`)
	chinese("sign-in")
	who := site.staff["phone"]
	b.do(chromedp.SendKeys(chromedp.CSS("#login"), who.Login), chromedp.SendKeys(chromedp.CSS("#password"), staffPassword),
		chromedp.SendKeys(chromedp.CSS("#code"), who.code(t)+kb.Enter))
	b.until(`location.pathname === "/purpose"`)
	chinese("purpose")
	b.do(chromedp.SendKeys(chromedp.CSS("#words"), "M-000001"+kb.Enter))
	b.until(`location.pathname === "/search" && document.querySelector("#file")`)
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{photo}))
	b.see("#status", "2 名失踪儿童，相似程度高的在前。")
	b.see("#candidates > li:first-child .words", "如果是同一个孩子，出现这样的相似程度的可能性，")
	b.see("#candidates > li:first-child .facts", "1961年")
	b.eval(`document.querySelectorAll("details").forEach(d => { d.open = true; }), ""`)
	b.see("#candidates > li:first-child .compared", "2012年拍摄，51 岁")
	b.until(`document.querySelector("#candidates > li:first-child .timeline svg[role=img]")`)
	chinese("search")
	b.do(chromedp.Click(chromedp.CSS(".tabs a[href='#words']")), chromedp.SendKeys(chromedp.CSS("#words"), "胎记 左臂"+kb.Enter))
	b.see("#words-status", "1 份档案，最符合的在前。")
	chinese("words")
	b.do(chromedp.Click(chromedp.CSS("#cases li:first-child h3 a")))
	b.see("#case [data-photo] h3", "2012年拍摄，当时 50 至 51 岁")
	b.eval(`document.querySelectorAll("details").forEach(d => { d.open = true; }), ""`)
	b.see("#case", "照片中有 2 张脸，请选择孩子的脸。")
	chinese("case")
	b.open("/cases/c_none")
	b.see("h1", "这里没有内容")
	b.expect("404 /cases/c_none")
	chinese("not found")
}
