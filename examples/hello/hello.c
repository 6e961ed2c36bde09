#include <stdio.h>

int main(void) {
    puts("hello from a sealed build");
    return 0;
}
