# Every target is one line: the work is cargo's, or a script's in tests/scripts/.
# `make demo` and `make test` work as the first command of a fresh clone: as root they install what
# is missing, as another user they name it and stop with exit 2.

S := tests/scripts

.PHONY: help build check test demo real interop interop-go bench soak fuzz vm examples release
.DEFAULT_GOAL := help

help:        ## this list
	@sed -n 's/^\([a-z-]*\): *## /  \1\t/p' Makefile | expand -t 16
build:       ## kiln, unoptimised but for hashing: target/debug/kiln
	@$(S)/setup.sh build && cargo build -p runner
check:       ## format, lints, house rules, dependencies
	@$(S)/setup.sh build && $(S)/check.sh
test:        ## all tests, as this user and, when root, also as an unprivileged one
	@$(S)/setup.sh build test && $(S)/test.sh
demo:        ## builds examples/hello sealed, tells its provenance, verifies it, breaks it
	@$(S)/setup.sh build example && $(S)/demo.sh
real:        ## builds unmodified upstream sources twice as root and twice as another user
	@$(S)/setup.sh build example real && $(S)/real.sh
interop:     ## other people's tools accept our signature and refuse changed ones
	@$(S)/setup.sh build example interop && $(S)/interop.sh
interop-go:  ## cosign and slsa-verifier, and a private Sigstore on loopback; the tools are built by go
	@$(S)/setup.sh build example interop interop-go && $(S)/interop-go.sh
bench:       ## ratios against bwrap, docker, make, git, openssl and cosign; no limits
	@$(S)/setup.sh build example real bench && $(S)/bench.sh
soak:        ## 1,000 steps in one process, as each user: nothing grows
	@$(S)/setup.sh build test && $(S)/soak.sh
fuzz:        ## bytes that nobody wrote for each reader of the verifier, led by the code they reach; a minute each
	@$(S)/setup.sh build fuzz && $(S)/fuzz.sh
vm:          ## attacks and builds on control groups of version 2, 1 and none, in a virtual machine
	@$(S)/setup.sh build vm && $(S)/vm.sh
examples:    ## runs every example
	@$(S)/setup.sh build example && cargo test -p tests --lib -- examples
release:     ## the binary to ship, with its time and size against the budget
	@$(S)/setup.sh build && $(S)/release.sh
