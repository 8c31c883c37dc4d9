# JSON into lines "PATH<tab>VALUE", such as "0.backup.2.label<tab>20261127-010000F". For `pgbackrest info`, whose strings
# hold no escapes but of quotes and slashes; POSIX awk knows no JSON.
{ text = text $0 }
END { at = 1; value("") }

function space() { while (substr(text, at, 1) ~ /[ \t\r\n]/) at++ }

function string(    found) {
    at++
    while (substr(text, at, 1) != "\"") {
        if (at > length(text)) exit 1
        if (substr(text, at, 1) == "\\") at++
        found = found substr(text, at++, 1)
    }
    at++
    return found
}

function value(path,    sign, key, number) {
    space()
    sign = substr(text, at, 1)
    if (sign == "{" || sign == "[") {
        at++; space()
        number = 0
        while (substr(text, at, 1) !~ /[]}]/) {
            if (at > length(text)) exit 1
            if (sign == "{") { key = string(); space(); at++ } else key = number++
            value(path == "" ? key : path "." key)
            space()
            if (substr(text, at, 1) == ",") at++
            space()
        }
        at++
    } else if (sign == "\"") {
        print path "\t" string()
    } else {
        match(substr(text, at), /^[^],} \t\r\n]+/)
        print path "\t" substr(text, at, RLENGTH)
        at += RLENGTH
    }
}
