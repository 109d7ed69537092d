#ifndef BASE_MEM_H
#define BASE_MEM_H
/* Memory: overflow-checked allocation and arenas. All heap memory of the project comes from here. */
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* n * size zeroed bytes, aligned to 64; NULL when out of memory or when the product overflows. n or size 0 gives a
 * valid pointer. Free with mem_free. Thread-safe. */
void *mem_calloc(size_t n, size_t size);
/* The same, not zeroed. */
void *mem_alloc(size_t n, size_t size);
/* Grows or shrinks a block of mem_alloc, keeping min(old, new) bytes; old NULL allocates. On failure returns NULL and
 * old stays valid. old_n counts the elements that are valid. */
void *mem_realloc(void *old, size_t old_n, size_t n, size_t size);
void mem_free(void *p); /* NULL is fine */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);

#define NEW(T) ((T *)mem_calloc(1, sizeof(T)))
#define NEW_ARRAY(T, n) ((T *)mem_calloc((n), sizeof(T)))

/* An arena: many small objects that live and die together, such as all that one opened file needs. Pointers stay valid
 * until arena_fini. Zero-initialised is empty and ready. Not thread-safe. */
struct arena { struct arena_block *head; size_t total; }; /* total: bytes that its blocks hold */
/* Zeroed, aligned to 16; NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t n, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_fini(struct arena *a);
#endif
