/* CPU detection: the only file that asks the machine what it is. */
#include "cpu.h"

uint32_t tcpao_cpu_features(void)
{
    return TCPAO_CPU_ANY;
}
