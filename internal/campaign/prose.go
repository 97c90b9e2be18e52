package campaign

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template/parse"
)

// A figure is a number that no letter comes before in its word: those in p99, mux1 and zipf10000 are names.
var (
	word   = regexp.MustCompile(`[\p{L}\p{N}_.,/-]*\p{N}[\p{L}\p{N}_.,/-]*`)
	number = regexp.MustCompile(`\p{N}+(?:\.\p{N}+)?`)
)

// Naked are the figures in a text.
func Naked(text string) []string {
	var list []string
	for _, w := range word.FindAllString(text, -1) {
		for part := range strings.FieldsFuncSeq(w, func(r rune) bool { return strings.ContainsRune(",/", r) }) {
			if startsWithLetter(part) {
				continue
			}
			list = append(list, number.FindAllString(part, -1)...)
		}
	}
	return list
}

func startsWithLetter(s string) bool { return regexp.MustCompile(`^\p{L}`).MatchString(s) }

// printers are the functions that may print: what they say is from the raw data, or is found there.
var printers = []string{"cell", "ratio", "asked", "table", "losses", "changes", "setting", "chart"}

// checkProse refuses a template with figures of its own: in its text, or as a constant that it prints. Those that it
// gives to functions say which cells are meant, and what was asked.
func checkProse(t *parse.Tree) error {
	for _, n := range nodes(t.Root) {
		place, _ := t.ErrorContext(n)
		switch n := n.(type) {
		case *parse.TextNode:
			if naked := Naked(string(n.Text)); len(naked) > 0 {
				return fmt.Errorf("%s: the text has figures of its own, %q: have them computed", place, naked)
			}
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 && slices.ContainsFunc(n.Pipe.Cmds, printsOther) {
				return fmt.Errorf("%s: %s prints what need not be from the raw data", place, n)
			}
		}
	}
	return nil
}

// printsOther is whether a command prints anything but what printers say, or a method of what they say: a constant, a variable.
func printsOther(c *parse.CommandNode) bool {
	name := c.Args[0]
	if chain, ok := name.(*parse.ChainNode); ok { // (cell …).Median
		pipe, ok := chain.Node.(*parse.PipeNode)
		if !ok || len(pipe.Cmds) != 1 {
			return true
		}
		name = pipe.Cmds[0].Args[0]
	}
	f, ok := name.(*parse.IdentifierNode)
	return !ok || !slices.Contains(printers, f.Ident)
}

// nodes are those below n that print, and n.
func nodes(n parse.Node) []parse.Node {
	list := []parse.Node{n}
	branch := func(b *parse.BranchNode) {
		list = append(list, nodes(b.List)...)
		if b.ElseList != nil {
			list = append(list, nodes(b.ElseList)...)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			list = append(list, nodes(child)...)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	}
	return list
}
