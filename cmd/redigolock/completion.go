package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
)

const completionManual = `Have the shell read it when it starts:

  source <(redigolock completion bash)`

func completion(_ context.Context, e *env, args []string) int {
	words, _, err := parse(e.flags("completion"), args)
	if err != nil {
		return e.fail(err)
	}
	switch {
	case len(words) == 1 && words[0] == "bash":
		completeBash(e.stdout)
	case len(words) == 1 && words[0] == "zsh":
		completeZsh(e.stdout)
	default:
		return e.fail(usagef("completion takes bash or zsh"))
	}
	return exitOK
}

func completeBash(w io.Writer) {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	fmt.Fprintf(w, `_redigolock() {
	local word=${COMP_WORDS[COMP_CWORD]} words= i
	for ((i = 2; i < COMP_CWORD; i++)); do [[ ${COMP_WORDS[i]} == -- ]] && return; done
	if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help ]]; then
		words="%s"
	elif [[ $word == -* ]]; then
		case ${COMP_WORDS[1]} in
`, strings.Join(names, " "))
	for _, v := range verbs() {
		fmt.Fprintf(w, "\t\t%s) words=\"%s\" ;;\n", v.name, strings.Join(flagsOf(v), " "))
	}
	fmt.Fprint(w, `		esac
	fi
	COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _redigolock redigolock
`)
}

func completeZsh(w io.Writer) {
	fmt.Fprint(w, "#compdef redigolock\n_redigolock() {\n\tlocal -a verbs=(\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "\t\t'%s:%s'\n", v.name, strings.ReplaceAll(v.summary, "'", `'\''`))
	}
	fmt.Fprint(w, `	)
	if ((CURRENT == 2)) || [[ $words[2] == help ]]; then
		_describe verb verbs
	elif ((${words[(I)--]} > 1 && ${words[(I)--]} < CURRENT)) || [[ $PREFIX != -* ]]; then
		_files
	else
		case $words[2] in
`)
	for _, v := range verbs() {
		fmt.Fprintf(w, "\t\t%s) compadd -- %s ;;\n", v.name, strings.Join(flagsOf(v), " "))
	}
	fmt.Fprint(w, "\t\tesac\n\tfi\n}\ncompdef _redigolock redigolock\n")
}

var flagLine = regexp.MustCompile(`(?m)^  (-[a-z-]+)`)

// flagsOf returns the flags of a verb, as its manual lists them.
func flagsOf(v verb) (flags []string) {
	if v.name == "help" || v.name == "completion" {
		return nil
	}
	var manual bytes.Buffer
	v.run(context.Background(), &env{stdout: &manual, stderr: &manual, getenv: func(string) string { return "" }}, []string{"-h"})
	_, list, _ := strings.Cut(manual.String(), "\nFlags:\n")
	for _, m := range flagLine.FindAllStringSubmatch(list, -1) {
		flags = append(flags, m[1])
	}
	return flags
}
