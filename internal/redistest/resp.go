package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLength is the longest string that Redis takes by default, and more elements
// than any reply has.
const maxLength = 512 << 20

// encode is a request as clients send it.
func encode(words []string) []byte {
	raw := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		raw = fmt.Appendf(raw, "$%d\r\n%s\r\n", len(w), w)
	}
	return raw
}

// readValue copies one whole RESP2 value, with all that is nested in it, from r
// to buf.
func readValue(r *bufio.Reader, buf *bytes.Buffer) error {
	for left := 1; left > 0; left-- {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		buf.Write(line)
		switch line[0] {
		case '+', '-', ':':
		case '$':
			err = copyBulk(r, buf, line)
		case '*':
			var n int
			n, err = parseLength(line)
			left += max(n, 0)
		default:
			err = fmt.Errorf("redistest: no RESP2 value: %q", line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyBulk copies the string that line announces, and the line end behind it.
func copyBulk(r *bufio.Reader, buf *bytes.Buffer, line []byte) error {
	n, err := parseLength(line)
	if err != nil || n < 0 {
		return err
	}
	_, err = io.CopyN(buf, r, int64(n)+2)
	return err
}

// parseLength returns the length in a line such as "$3\r\n"; −1 stands for a
// null.
func parseLength(line []byte) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	if err != nil {
		return 0, fmt.Errorf("redistest: length in %q: %w", line, err)
	}
	if n > maxLength {
		return 0, fmt.Errorf("redistest: a length of %d", n)
	}
	return n, nil
}

// isMessage says whether a reply is a published message, which the server sends
// on its own.
func isMessage(raw []byte) bool {
	_, rest, _ := bytes.Cut(raw, []byte("\r\n"))
	for _, kind := range []string{"$7\r\nmessage", "$8\r\npmessage", "$8\r\nsmessage"} {
		if raw[0] == '*' && bytes.HasPrefix(rest, []byte(kind+"\r\n")) {
			return true
		}
	}
	return false
}
