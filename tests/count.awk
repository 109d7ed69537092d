# Reads a log of `meson test` and counts: one for each cmocka test (the scripts print the same marks), one for each
# program that prints none. Prints the reason of each skip, a line for each failure, and last "passed failed skipped".
#
# A program that ends badly counts at least one failure even when all its marks say OK: it crashed, ran out of time, or
# a sanitizer spoke at its end.

function end_test() {
    if (running != "") { bad(running " did not end"); running = "" }
}
function bad(what) { failed++; program_failed++; print "FAILED  " program ": " what }
# Skips of one program for one reason make one line, which names the first few.
function skip(name, why) {
    skipped++
    n_skipped[why]++
    if (n_skipped[why] <= 3) names[why] = names[why] (n_skipped[why] > 1 ? ", " : "") name
}
function print_skips(    why) {
    for (why in n_skipped) {
        if (n_skipped[why] > 3) names[why] = names[why] " and " n_skipped[why] - 3 " more"
        print "SKIPPED " program (names[why] == "" ? "" : ": " names[why]) ": " why
    }
    split("", n_skipped); split("", names)
}
function end_program() {
    if (program == "") return
    end_test()
    if (result == "exit status 77") { if (!marks) skip("", reason()) }
    else if (result != "exit status 0") { if (!program_failed) bad(result) }
    else if (!marks) passed++
    print_skips()
    program = ""
}
# What a test printed between its mark and the word SKIPPED; failing that, all it printed.
function reason() { return said == "" ? "no reason given" : said }

/^=+ [0-9]+\/[0-9]+ =+$/ { end_program(); next }
/^test: / && program == "" {
    program = $0; sub(/^test: */, "", program); sub(/^.* \/ /, "", program)
    result = said = running = ""; marks = program_failed = 0; next
}
program == "" { next }
/^result: / && result == "" { result = $0; sub(/^result: */, "", result); next }
/^=+$/ { end_program(); next }
/^\[ RUN      \] / { end_test(); running = substr($0, 14); marks++; said = ""; next }
running != "" && $0 == "[       OK ] " running { passed++; running = said = ""; next }
running != "" && $0 == "[  FAILED  ] " running { bad(running); running = said = ""; next }
running != "" && $0 == "[  ERROR   ] " running { bad(running); running = said = ""; next }
running != "" && $0 == "[  SKIPPED ] " running { skip(running, reason()); running = said = ""; next }
/^\[|^-+ std(out|err) -+$|^command: |^start time: |^duration: / { next }
{ said = said (said == "" ? "" : " ") $0 }
END { end_program(); print passed + 0, failed + 0, skipped + 0 }
