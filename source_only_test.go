package redigolock_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// poolMethods are the methods by which pools, and connections that bind, differ.
var poolMethods = []string{"Get", "GetContext", "DialContext", "Bind", "IdleCount", "ActiveCount"}

// TestOnlySourceLooksAtPools: what a pool can do is found out in internal/pools, and in mux.go and pool.go, which have pools. No other file asserts
// or switches on the type of a pool or on its methods, reads a field Pool, borrows, or binds.
func TestOnlySourceLooksAtPools(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	types := map[string]bool{"Pool": true, "OpenPool": true, "sentinelPool": true, "Mux": true}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && hasPoolMethod(spec.Type) {
				types[spec.Name.Name] = true
			}
			return true
		})
	}
	if !types["Pool"] {
		t.Fatalf("the types of pools were not found: %v", types)
	}
	for name, file := range files {
		if name == "mux.go" || name == "pool.go" {
			continue
		}
		for _, n := range looksAtPools(file, types) {
			t.Errorf("%v looks at a pool, which is for internal/pools and pool.go to do", fset.Position(n.Pos()))
		}
	}
}

// looksAtPools returns where a file looks at what a pool or a connection is.
func looksAtPools(file *ast.File, types map[string]bool) (found []ast.Node) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeAssertExpr:
			if n.Type != nil && isPool(n.Type, types) {
				found = append(found, n)
			}
		case *ast.CaseClause: // of a type switch; of any other it holds no type
			for _, x := range n.List {
				if isPool(x, types) {
					found = append(found, x)
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "newSource" {
				return false // it has others look
			}
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(poolMethods, s.Sel.Name) && !isRedis(s.X) &&
				(s.Sel.Name != "Get" || len(n.Args) == 0) {
				found = append(found, n)
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "Pool" && !isRedis(n.X) {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}

// isPool reports whether a type expression is a pool's, or an interface with a method of a pool's, or of a connection's that
// binds.
func isPool(x ast.Expr, types map[string]bool) bool {
	switch x := x.(type) {
	case *ast.StarExpr:
		return isPool(x.X, types)
	case *ast.Ident:
		return types[x.Name]
	case *ast.SelectorExpr:
		return isRedis(x.X) && x.Sel.Name == "Pool"
	}
	return hasPoolMethod(x)
}

func hasPoolMethod(x ast.Expr) bool {
	it, ok := x.(*ast.InterfaceType)
	if !ok {
		return false
	}
	for _, m := range it.Methods.List {
		for _, name := range m.Names {
			if slices.Contains(poolMethods, name.Name) {
				return true
			}
		}
	}
	return false
}

// isRedis reports whether x is the package redis.
func isRedis(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "redis"
}

// The check must see each way to look at a pool.
func TestOnlySourceLooksAtPoolsSeesEachWay(t *testing.T) {
	types := map[string]bool{"Pool": true, "Mux": true, "bindingConn": true}
	for code, looks := range map[string]bool{
		`_ = p.(*redis.Pool)`:                               true,
		`_, ok := p.(*Mux)`:                                 true,
		`_, ok := p.(bindingConn)`:                          true,
		`_, ok := p.(interface{ IdleCount() int })`:         true,
		`_, ok := p.(interface{ Bind(...string) error })`:   true,
		`switch p.(type) { case nil, *redis.Pool: }`:        true,
		`switch p := p.(type) { case Pool: _ = p }`:         true,
		`_ = c.Bind(key)`:                                   true,
		`c := l.Pool`:                                       true,
		`c := pool.Get()`:                                   true,
		`c, err := pool.DialContext(ctx)`:                   true,
		`v := query.Get("db")`:                              false,
		`c, err := redis.DialContext(ctx, "tcp", "x")`:      false,
		`_, ok := c.(redis.ConnWithContext)`:                false,
		`p := &redis.Pool{}`:                                false,
		`switch n { case 1, two: }`:                         false,
		`_, ok := err.(interface{ Unwrap() []error })`:      false,
		`switch e := err.(type) { case redis.Error: _ = e}`: false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+code+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(looksAtPools(file, types)) > 0; got != looks {
			t.Errorf("%s: %v, want %v", code, got, looks)
		}
	}
}
