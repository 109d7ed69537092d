#ifndef GRAPH_LIFE_H
#define GRAPH_LIFE_H
#include "graph/graph.h"

enum { LIFE_ALIGN = 64 /* a cache line, and the widest vector register */ };
/* Gives every INPUT, OUTPUT and ACT its offset and sets act_bytes and io_bytes. The graph's shapes are valid. */
enum err_code life_plan(struct graph *g, struct err *e);
#endif
