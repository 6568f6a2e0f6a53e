// Reads a dashboard on standard input and prints what Grafana's own schema does not allow: unknown and missing fields,
// wrong types, and values that are not in the list of their type. Panels of other types than these are refused.
//
// The only argument is the folder of the module github.com/grafana/grafana-foundation-sdk/go: the lists of values are
// constants, which a program can read only from the source.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Values that each string type allows, by "package.Type".
type lists map[string]map[string]bool

func readLists(module string) (lists, error) {
	found := lists{}
	for _, name := range []string{"common", "dashboard", "prometheus"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(module, name, "types_gen.go"), nil, 0)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, isValue := node.(*ast.ValueSpec)
			if !isValue || len(spec.Values) != 1 {
				return true
			}
			kind, isNamed := spec.Type.(*ast.Ident)
			text, isLiteral := spec.Values[0].(*ast.BasicLit)
			if !isNamed || !isLiteral || text.Kind != token.STRING {
				return true
			}
			value, _ := strconv.Unquote(text.Value)
			key := name + "." + kind.Name
			if found[key] == nil {
				found[key] = map[string]bool{}
			}
			found[key][value] = true
			return true
		})
	}
	return found, nil
}

// Calls report for each value that is not in the list of its type.
func (known lists) walk(value reflect.Value, where string, report func(string)) {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			known.walk(value.Elem(), where, report)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			known.walk(value.Field(i), where+"."+value.Type().Field(i).Tag.Get("json"), report)
		}
	case reflect.Slice:
		for i := range value.Len() {
			known.walk(value.Index(i), fmt.Sprintf("%s[%d]", where, i), report)
		}
	case reflect.String:
		kind := value.Type()
		if list := known[path.Base(kind.PkgPath())+"."+kind.Name()]; list != nil && !list[value.String()] {
			report(fmt.Sprintf("%s: %q is not in the list", where, value.String()))
		}
	}
}

func run() error {
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	known, err := readLists(os.Args[1])
	if err != nil {
		return err
	}
	runtime := cog.NewRuntime()
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	// The strict reader may return an empty list of errors, and then leaves panels out.
	var strict, board dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		return err
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		return err
	}
	if err := board.Validate(); err != nil {
		return err
	}
	var problems cog.BuildErrors
	report := func(text string) {
		problems = append(problems, &cog.BuildError{Path: "dashboard", Message: text})
	}
	known.walk(reflect.ValueOf(board), "", report)
	for i, one := range board.Panels {
		if one.Panel == nil {
			continue
		}
		// The options of an unknown type are accepted as they are.
		if _, registered := cog.ConfigForPanelcfgVariant(one.Panel.Type); !registered {
			report(fmt.Sprintf(".panels[%d].type: %q is not known", i, one.Panel.Type))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
