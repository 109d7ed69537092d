# Makes, from options.txt, what -v what= says: `bash` and `zsh` completion, or `man`: the man page, whose template is
# the second file, whose line @OPTIONS@ is replaced by the commands and their options, and @VERSION@ by -v version=.

BEGIN { FS = " \\| "; split("", order) }
FILENAME != table_name && table_name != "" { template(); next }
{ table_name = FILENAME }
/^#/ || /^$/ { next }
$1 == "command" { order[++n_commands] = $2; operands[$2] = $3; about[$2] = $4; next }
$1 == "option" {
    for (i = 1; i <= n_commands; i++)
        if ($2 == "*" || index(" " $2 " ", " " order[i] " ")) add(order[i], $3, $4, $5)
    next
}
{ print FILENAME ":" FNR ": neither a command nor an option" > "/dev/stderr"; exit failed = 1 }

function add(command, spellings, argument, text) {
    n = ++n_options[command]
    spelled[command, n] = spellings; takes[command, n] = argument; says[command, n] = text
}
function is_path(argument) { return argument ~ /^(FILE|DIR|MODEL|OUT)$/ }
function is_choice(argument) { return argument ~ /^[a-z0-9_]+(,[a-z0-9_]+)+$/ }

# --- bash: one case a command for the options, one case a command and option for the arguments ---
function bash(    i, j, c, words) {
    print "# bash completion of snug, made from tools/completions/options.txt"
    print "_snug() {"
    print "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=files"
    print "    COMPREPLY=()"
    print "    if [ \"$COMP_CWORD\" -eq 1 ]; then"
    words = "--help --version"
    for (i = 1; i <= n_commands; i++) words = words " " order[i]
    print "        mapfile -t COMPREPLY < <(compgen -W \"" words "\" -- \"$cur\")"
    print "        return"
    print "    fi"
    print "    case \"${COMP_WORDS[1]} $prev\" in"
    for (i = 1; i <= n_commands; i++) {
        c = order[i]
        for (j = 1; j <= n_options[c]; j++) if (takes[c, j] != "-") bash_argument(c, j)
    }
    print "    *)"
    print "        case \"$cur\" in"
    print "        -*)"
    print "            case \"${COMP_WORDS[1]}\" in"
    for (i = 1; i <= n_commands; i++) {
        c = order[i]; words = ""
        for (j = 1; j <= n_options[c]; j++) words = words (j > 1 ? " " : "") spelled[c, j]
        print "            " c ") words=\"" words "\" ;;"
    }
    print "            esac ;;"
    print "        esac ;;"
    print "    esac"
    print "    case \"$words\" in"
    print "    files) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames 2>/dev/null ;;"
    print "    *) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;"
    print "    esac"
    print "}"
    print "complete -F _snug snug"
}
function bash_argument(c, j,    list, n, i, words, pattern) {
    n = split(spelled[c, j], list, " ")
    for (i = 1; i <= n; i++) pattern = pattern (i > 1 ? " | " : "") "\"" c " " list[i] "\""
    words = "\"\""
    if (is_path(takes[c, j])) words = "files"
    if (is_choice(takes[c, j])) { words = "\"" takes[c, j] "\""; gsub(",", " ", words) }
    print "    " pattern ") words=" words " ;;"
}

# --- zsh ---
function quoted(text) {
    gsub(/'/, "'\\''", text)
    gsub(/:/, "\\:", text); gsub(/\[/, "\\[", text); gsub(/\]/, "\\]", text)
    return text
}
function zsh_option(c, j,    list, n, i, argument, choices) {
    n = split(spelled[c, j], list, " ")
    if (takes[c, j] == "-") argument = ""
    else if (is_path(takes[c, j])) argument = ":" takes[c, j] ":_files"
    else if (is_choice(takes[c, j])) { choices = takes[c, j]; gsub(",", " ", choices); argument = ":choice:(" choices ")" }
    else argument = ":" takes[c, j] ": "
    for (i = 1; i <= n; i++) print "        '*" list[i] "[" quoted(says[c, j]) "]" argument "' \\"
}
function zsh(    i, j) {
    print "#compdef snug"
    print "# zsh completion of snug, made from tools/completions/options.txt"
    print "_snug() {"
    print "    local -a commands=("
    for (i = 1; i <= n_commands; i++) print "        '" order[i] ":" quoted(about[order[i]]) "'"
    print "    )"
    print "    if (( CURRENT == 2 )); then"
    print "        _describe command commands"
    print "        return"
    print "    fi"
    print "    local command=$words[2]"
    print "    shift words"
    print "    (( CURRENT-- ))"
    print "    case $command in"
    for (i = 1; i <= n_commands; i++) {
        print "    " order[i] ") _arguments \\"
        for (j = 1; j <= n_options[order[i]]; j++) zsh_option(order[i], j)
        print "        '*:file:_files' ;;"
    }
    print "    esac"
    print "}"
    print "_snug \"$@\""
}

# --- man ---
function roff(text) { gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); return text }
function man_argument(argument) {
    if (!is_choice(argument)) return "\\fI" roff(argument) "\\fR"
    gsub(",", "\\fR | \\fB", argument)
    return "\\fB" argument "\\fR"
}
function man_command(c,    j, list, n, i, line) {
    print ".SS snug " c " " roff(operands[c])
    print toupper(substr(about[c], 1, 1)) roff(substr(about[c], 2)) "."
    for (j = 1; j <= n_options[c]; j++) {
        n = split(spelled[c, j], list, " ")
        line = ""
        for (i = 1; i <= n; i++) line = line (i > 1 ? ", " : "") "\\fB" roff(list[i]) "\\fR"
        if (takes[c, j] != "-") line = line " " man_argument(takes[c, j])
        print ".TP"
        print line
        print toupper(substr(says[c, j], 1, 1)) roff(substr(says[c, j], 2)) "."
    }
}
function template(    i) {
    if ($0 != "@OPTIONS@") { sub(/@VERSION@/, version); print; return }
    for (i = 1; i <= n_commands; i++) man_command(order[i])
}

END {
    if (failed) exit 1
    if (what == "bash") bash()
    else if (what == "zsh") zsh()
    else if (what != "man") { print "say -v what=bash, zsh or man" > "/dev/stderr"; exit 1 }
}
