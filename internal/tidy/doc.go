// Package tidy holds Breakwater's own rules of style and structure, as tests.
//
// Each rule is a function from the tree of sources to findings, and a subtest
// of TestTree that fails on them; a finding says where, what, and how to mend
// it. The package exists apart from what it checks because no part can vouch
// for the walls around itself. It is never linked into the program: nothing
// imports it, and it stands outside the flow.
//
// The rules: imports follow the graph (graph.go), powers over the world are
// held only by the packages that have a stated reason (powers.go), libraries
// are imported only where a decision says so (libraries.go), test support is
// imported by tests only, each package has one package doc, in doc.go,
// functions and files are short but for those in the ratchet list, log keys
// are the constants of base/telemetry, each parser has a fuzz target, some
// calls and kinds of declaration are banned, the links of the documents lead
// somewhere, testdata is used, no file names a path of somebody's machine,
// limits have reasons and their table is fresh, deviations from RFCs are on
// the page of quirks, and every direct dependency has its decision.
//
// Rules see syntax, not types: they are quick, need no build, and work while
// a package does not compile. What they cannot see they leave alone, so they
// may miss something but do not cry wolf.
//
// Invariants: every rule is shown to be able to fail, on small trees in
// testdata/rules; a list of exceptions may only shrink, since an exception
// that is not needed is a finding too.
//
// Concurrency: a Tree is immutable once loaded. Limits: functions of 70
// lines, files of 800, package docs of 20 to 60. RFCs: none.
package tidy
