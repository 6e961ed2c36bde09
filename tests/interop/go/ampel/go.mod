module tools

go 1.26.5

require github.com/carabiner-dev/ampel v1.3.3
