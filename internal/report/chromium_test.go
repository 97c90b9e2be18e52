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
	"slices"
	"strings"
	"sync"
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
	if !isSet("REDIGOLOCK_CHROMIUM") {
		t.Skip("there is no chromium in the path (REDIGOLOCK_CHROMIUM=1 makes this a failure)")
	}
	t.Fatal("there is no chromium in the path: scripts/install.sh chromium installs it")
	return ""
}

// isSet says whether the environment variable is there and does not deny.
func isSet(name string) bool {
	v := os.Getenv(name)
	return v != "" && v != "0" && v != "false"
}

// A site serves the page and what looks at it. It is the browser's proxy too, so that no request gets past it.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	hosts []string // that were asked for
}

func newSite(t *testing.T, page []byte) *site {
	t.Helper()
	check, err := os.ReadFile(filepath.Join("testdata", "check.html"))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Server: httptest.NewUnstartedServer(nil)}
	own := s.Listener.Addr().String()
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.hosts = append(s.hosts, r.Host)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch {
		case r.Host != own:
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/check":
			w.Write(check)
		case r.URL.Path == "/page":
			w.Write(page)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// asked says whether a host was asked for.
func (s *site) asked(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.hosts, func(h string) bool { return strings.HasPrefix(h, host) })
}

// A look is what testdata/check.html finds in a frame.
type look struct {
	Width, PageWidth, Room   int
	Boxes, Scrolling, Tables int
	Unnamed, Drawn           int
	Beyond, Pale             []string
	Headings                 []string
	Outside, Fetched         []string
	Background               string
}

var result = regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`)

// view has the browser look at the page.
func (s *site) view(t *testing.T, browser string, flags ...string) []look {
	t.Helper()
	profile := profileDir(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, slices.Concat([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-breakpad", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--proxy-server=" + s.URL, "--proxy-bypass-list=<-loopback>", "--user-data-dir=" + profile,
		"--window-size=1400,900", "--virtual-time-budget=10000", "--dump-dom",
	}, flags, []string{s.URL + "/check"})...)
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", browser, err, stderr.String())
	}
	m := result.FindStringSubmatch(stdout.String())
	var looks []look
	if m == nil || json.Unmarshal([]byte(html.UnescapeString(m[1])), &looks) != nil || len(looks) != 2 {
		t.Fatalf("the browser says %s\n%s", stdout.String(), stderr.String())
	}
	return looks
}

// profileDir is removed again and again until the browser's last process has left it.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "report-chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for os.RemoveAll(dir) != nil && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
	})
	return dir
}

func TestPageInChromiumOnAPhoneAndOnADesktop(t *testing.T) {
	browser := chromium(t)
	outside := "http://outside.example/x.png"
	long := strings.Repeat("x", 300)
	page := pageOf(t, "A page <img src="+outside+">", "see: "+outside+"\nnote: <link href="+outside+">\nlong: "+long+"\n"+
		sampleText(t)+rounds("Load/keys="+long+"/approach="+long+"/rate="+long, long, 6, 1))
	s := newSite(t, page)
	backgrounds := map[string]bool{}
	for mode, setting := range map[string]string{"dark": "0", "light": "1"} {
		looks := s.view(t, browser, "--blink-settings=preferredColorScheme="+setting)
		for i, width := range []int{360, 1280} {
			looks[i].check(t, mode, width)
			backgrounds[looks[i].Background] = true
		}
	}
	if len(backgrounds) != 2 {
		t.Errorf("dark and light pages have the backgrounds %v", backgrounds)
	}
	if !s.asked("127.0.0.1") || s.asked("outside.example") {
		t.Errorf("hosts asked for: %q", s.hosts)
	}
}

func (l look) check(t *testing.T, mode string, width int) {
	t.Helper()
	if l.Width != width || l.PageWidth > l.Room || len(l.Beyond) > 0 {
		t.Errorf("%s at %d: the page has %d of %d, wide: %q", mode, width, l.PageWidth, l.Room, l.Beyond)
	}
	if scrolls := l.Scrolling > 0; scrolls != (width == 360) {
		t.Errorf("%s at %d: %d of %d tables scroll in their boxes", mode, width, l.Scrolling, l.Boxes)
	}
	want := []string{
		"Uncontended", "Contention", "Open loop", "Keeping locks alive", "A holder killed", "Verbs", "Ratios", "Limit",
	}
	if !slices.Equal(l.Headings, want) {
		t.Errorf("%s at %d: sections %q", mode, width, l.Headings)
	}
	if l.Tables == 0 || l.Boxes != l.Tables || l.Unnamed > 0 || l.Drawn < 50 {
		t.Errorf("%s at %d: %d tables in %d boxes, %d without caption or scope, %d bars",
			mode, width, l.Tables, l.Boxes, l.Unnamed, l.Drawn)
	}
	if len(l.Outside) > 0 || len(l.Fetched) > 0 {
		t.Errorf("%s at %d: the page needs %q, fetched %q", mode, width, l.Outside, l.Fetched)
	}
	if len(l.Pale) > 0 {
		t.Errorf("%s at %d: text with too little contrast on %s: %q", mode, width, l.Background, l.Pale)
	}
}
