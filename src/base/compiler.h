#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H
/* The only place that spells compiler attributes and builtins. */
#define PRINTF_LIKE(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))
#define MUST_USE __attribute__((warn_unused_result))
#define ALIGNED(n) __attribute__((aligned(n)))
#define PACKED __attribute__((packed))
/* Asks for the cache line of an address, which need not be valid, into the second-level cache. */
#define PREFETCH(p) __builtin_prefetch((p), 0, 2)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Has a vector loaded once, where the compiler would read it from memory for every use. */
#if defined(__x86_64__)
#define LOADED(v) __asm__("" : "+v"(v))
#else
#define LOADED(v) (void)(v)
#endif
/* Tells the core that it spins, for the good of its other hardware thread. */
#if defined(__x86_64__)
#define CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_RELAX() __asm__ volatile("yield")
#else
#define CPU_RELAX() ((void)0)
#endif
/* n elements side by side, on which operators work one by one; n sizeof(type) is a power of two. */
#define VECTOR_OF(type, n) type __attribute__((vector_size(sizeof(type) * (n))))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#endif
