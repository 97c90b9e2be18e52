package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chromium is the browser's path. Without one the test is skipped, or fails with REDIGOLOCK_CHROMIUM=1.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if v := os.Getenv("REDIGOLOCK_CHROMIUM"); v == "" || v == "0" || v == "false" {
		t.Skip("there is no chromium in the path (REDIGOLOCK_CHROMIUM=1 makes this a failure)")
	}
	t.Fatal("there is no chromium in the path: scripts/install.sh chromium installs it")
	return ""
}

// A look is what testdata/check.html finds in a frame.
type look struct {
	Width, Height, PageWidth, Room           int
	Boxes, Scrolling, Tables, Unnamed, Drawn int
	Beyond, Pale, Outside, Fetched           []string
	Background                               string
}

var result = regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`)

// view has the browser look at the page, on a phone and on a desktop.
func view(t *testing.T, browser, url, scheme string) (looks []look) {
	t.Helper()
	profile, err := os.MkdirTemp("", "report-chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // again and again, until the browser's last process has left it
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(profile) != nil && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-breakpad", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+profile,
		"--window-size=1400,900", "--virtual-time-budget=10000", "--dump-dom", "--blink-settings=preferredColorScheme="+scheme, url)
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", browser, err, stderr.String())
	}
	m := result.FindStringSubmatch(stdout.String())
	if m == nil || json.Unmarshal([]byte(html.UnescapeString(m[1])), &looks) != nil || len(looks) != 2 {
		t.Fatalf("the browser says %s\n%s", stdout.String(), stderr.String())
	}
	return looks
}

func TestPageInChromiumOnAPhoneAndOnADesktop(t *testing.T) {
	browser := chromium(t)
	outside, long := "http://outside.example/x.png", strings.Repeat("x", 300)
	page := pageOf(t, "A page <img src="+outside+">", "see: "+outside+"\nlong: "+long+"\n"+
		sampleText(t)+rounds("Load/keys="+long+"/approach="+long+"/rate="+long, long, 6, 1))
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })
	mux.HandleFunc("/check", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata", "check.html"))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	backgrounds := map[string]bool{}
	for mode, scheme := range map[string]string{"dark": "0", "light": "1"} {
		for i, l := range view(t, browser, s.URL+"/check", scheme) {
			width := []int{390, 1280}[i]
			backgrounds[l.Background] = true
			if l.Width != width || l.PageWidth > l.Room || len(l.Beyond) > 0 {
				t.Errorf("%s at %d: the page has %d of %d, wide: %q", mode, width, l.PageWidth, l.Room, l.Beyond)
			}
			if width == 1280 && l.Height > 2*1024 {
				t.Errorf("%s at %d: what is open takes %d pixels, two screens are wanted", mode, width, l.Height)
			}
			if width == 390 && l.Scrolling == 0 {
				t.Errorf("%s at %d: %d of %d tables scroll in their boxes", mode, width, l.Scrolling, l.Boxes)
			}
			if l.Tables == 0 || l.Boxes != l.Tables || l.Unnamed > 0 || l.Drawn < 50 {
				t.Errorf("%s at %d: %d tables in %d boxes, %d without caption or scope, %d bars", mode, width, l.Tables, l.Boxes, l.Unnamed, l.Drawn)
			}
			if len(l.Outside)+len(l.Fetched)+len(l.Pale) > 0 {
				t.Errorf("%s at %d: the page needs %q, fetched %q; too little contrast: %q", mode, width, l.Outside, l.Fetched, l.Pale)
			}
		}
	}
	if len(backgrounds) != 2 {
		t.Errorf("dark and light pages have the backgrounds %v", backgrounds)
	}
}
