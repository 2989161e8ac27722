#!/bin/sh
# Runs the applets of busybox in a container and prints, per applet, what they print and how they exit. Run under two
# runtimes, the outputs must be equal: nothing here prints a pid, a time, an inode number or the name of the kernel.
#
# Each `t NAME SCRIPT` gets a fresh directory with some files, a time limit, and one block of indented output.
export LC_ALL=C TZ=UTC
umask 022

t() {
    echo "$1"
    rm -rf /tmp/applet
    mkdir -p /tmp/applet
    cd /tmp/applet || exit 1
    printf 'pear 3\napple 1\nfig 22\napple 1\ncherry 10\n' >fruit
    printf 'one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n' >numbers
    mkdir -p tree/left tree/right
    echo a >tree/left/a
    echo bb >tree/right/b
    ln -s ../left/a tree/right/link
    timeout -s KILL 30 sh -c "$2" 2>&1 </dev/null | sed 's/^/  /'
}
rc() { "$@"; echo "status $?"; }

# Files and directories
t ls 'ls; ls -a tree; ls -1p tree; ls -R tree; ls -l fruit tree | awk "{print \$1, \$2 + 0 * (\$1 ~ /^d/), \$3, \$4, \$5 * (\$1 !~ /^d/), \$NF}" | sed "s/^\(d[^ ]*\) [0-9]*/\1/"; ls missing; echo $?'
t cat 'cat fruit numbers; cat -n fruit; cat missing; echo $?; echo in | cat - fruit'
t cp 'cp fruit copy; cmp fruit copy; cp -r tree tree2; find tree2 | sort; cp -a tree tree3; ls -l tree3/right | sed "s/.* //"; cp missing x; echo $?; cp -p fruit kept; [ kept -nt fruit ]; echo $?'
t mv 'mv fruit moved; ls; mv moved tree; ls tree; mv missing x; echo $?; mv tree/left numbers; echo $?; mv -n numbers tree/moved; ls'
t rm 'rm fruit; rm missing; echo $?; rm -f missing; echo $?; rm tree; echo $?; rm -r tree; ls'
t ln 'ln fruit hard; ln -s fruit soft; stat -c "%h %F" fruit hard soft; readlink soft; ln -s x fruit; echo $?; ln -sf numbers soft; cat soft | wc -l; readlink -f soft'
t mkdir 'mkdir a; mkdir a; echo $?; mkdir -p b/c/d; find b; mkdir -m 700 m; stat -c %a m; mkdir x/y; echo $?'
t rmdir 'mkdir a; rmdir a; rmdir tree; echo $?; mkdir -p x/y/z; rmdir -p x/y/z; ls'
t touch 'touch new; ls new; touch -c absent; ls absent; touch -d "2020-02-03 04:05:06" fruit; stat -c %Y fruit; touch -r fruit numbers; stat -c %Y numbers'
t chmod 'chmod 600 fruit; stat -c %a fruit; chmod u+x,go+r fruit; stat -c %A fruit; chmod -R go-rwx tree; stat -c %a tree tree/left/a; chmod 4755 fruit; stat -c %A fruit; chmod 1777 tree; stat -c %A tree'
t chown 'chown 1000:100 fruit; stat -c "%u:%g" fruit; chown nobody numbers; stat -c %U numbers; chgrp users fruit; stat -c %G fruit; chown -R 5:5 tree; find tree -user 5 | wc -l; chown nosuchuser fruit; echo $?'
t stat 'stat -c "%n %s %A %F" fruit tree/right/link; stat -c "%n %A %F" tree /dev/null; stat -c "%t %T" /dev/zero; stat missing; echo $?; stat -f -c "%l" . | head -1'
t find 'find tree | sort; find . -type f | sort; find . -name "*r*" | sort; find tree -type l; find . -size -2c -type f; find tree -maxdepth 1 | sort; find . -empty; find tree -name a -exec echo found {} \;; find . -newer fruit -name none; find missing; echo $?; find tree -perm 644 -type f | sort; find tree -delete; ls'
t du 'mkdir d; dd if=/dev/zero of=d/f bs=1k count=64 2>/dev/null; du -k d/f | awk "{print (\$1 >= 60 && \$1 <= 72)}"; du -s missing; echo $?'
t df 'df / | awk "NR == 2 {print NF, \$2 > 0}"; df missing; echo $?'
t truncate 'truncate -s 100 fruit; stat -c %s fruit; truncate -s 5 fruit; cat fruit; truncate -s 1M big; stat -c %s big; fallocate -l 5000 alloc; stat -c %s alloc'
t link_unlink 'link fruit l; stat -c %h l; unlink l; stat -c %h fruit; unlink missing; echo $?'
t readlink_realpath 'readlink tree/right/link; readlink -f tree/right/link; realpath tree/right/../left; realpath .; readlink fruit; echo $?'
t mktemp 'f=$(mktemp); [ -f $f ] && echo file; stat -c %a $f; d=$(mktemp -d); [ -d $d ] && echo dir; stat -c %a $d; mktemp -p . abcXXXXXX | wc -c'
t mkfifo 'mkfifo p; stat -c %F p; (echo through > p &) ; cat p; mkfifo -m 600 q; stat -c %a q'
t mknod 'mknod n c 1 3; echo $?; stat -c "%F %t %T" n; echo x > n; cat n; mknod f p; stat -c %F f'
t install_like 'cp fruit x; chmod 755 x; sync; fsync x; echo $?; sync x; echo $?'
t pwd_basename_dirname 'pwd; cd tree/left; pwd; cd ..; pwd; cd -; basename /a/b.c .c; dirname /a/b/c; dirname x'
t tree_walk 'ls -R / 2>/dev/null | grep -c busybox; for d in bin etc proc sys dev tmp; do [ -d /$d ] && echo $d; done'
t patch_diff 'sed s/apple/orange/ fruit > changed; diff fruit changed; echo $?; diff -u fruit changed | tail -n +3; diff -u fruit changed > p; patch fruit p; cmp fruit changed; echo $?; diff -r tree tree; echo $?; diff fruit missing; echo $?'
t cmp 'cmp fruit fruit; echo $?; cmp fruit numbers; echo $?; cmp -s fruit numbers; echo $?; cmp fruit missing; echo $?'

# Text
t echo_printf 'echo -n a; echo -e "b\tc\\x41"; printf "%s|%5d|%-5s|%x|%c|%05.1f\n" word 42 left 255 char 3.14159; printf "%b" "a\nb\n"; printf "%d\n" x; echo $?'
t head_tail 'head -n 2 numbers; head -c 5 numbers; echo; tail -n 2 numbers; tail -c 4 numbers; tail -n +9 numbers; head -n -8 numbers; seq 1000 | tail -1'
t tail_follow '(sleep 1; echo more >> numbers; sleep 1) & timeout 3 tail -n 1 -f numbers; echo $?'
t sort 'sort fruit; sort -r fruit; sort -u fruit; sort -n -k2 fruit; sort -k2,2nr -k1,1 fruit; sort -c fruit; echo $?; sort -t" " -k1.2 fruit; seq 2000 | sort -r | head -3; sort -o fruit fruit; head -1 fruit; printf "b\0a\0" | sort -z | tr "\0" ,'
t uniq 'sort fruit | uniq; sort fruit | uniq -c; sort fruit | uniq -d; sort fruit | uniq -u'
t wc 'wc fruit; wc -l fruit numbers; wc -c < fruit; wc -w numbers; wc -L fruit; echo a b c | wc'
t cut_paste 'cut -d" " -f2 fruit; cut -c1-3 fruit; cut -b2 fruit; paste fruit numbers | head -3; paste -s -d, fruit; paste -d: - - < numbers'
t tr 'tr a-z A-Z < fruit; tr -d aeiou < fruit; echo aabbcc | tr -s a-c; echo hello | tr -c "a-z\n" x; echo abc | tr "[:lower:]" "[:upper:]"'
t sed 'sed s/a/b/ fruit; sed -n 2p fruit; sed "2d;s/fig/FIG/" fruit; sed -e "/apple/!d" fruit; sed "s/\([a-z]*\) \([0-9]*\)/\2 \1/" fruit; sed -i s/pear/PEAR/ fruit; head -1 fruit; sed "\$!N;s/\n/+/" numbers; sed -n "/two/,/four/p" numbers; sed y/abc/xyz/ fruit; sed -E "s/(o|e)+/<&>/g" numbers | head -3; sed "1i top" fruit | head -1; sed = fruit | head -2'
t awk 'awk "{print \$2, \$1}" fruit; awk "{s += \$2} END {print s, NR}" fruit; awk -F"[ ]" "/apple/ {n[\$1]++} END {for (k in n) print k, n[k]}" fruit; awk "BEGIN {printf \"%.3f %s %d\\n\", 22/7, substr(\"hello\", 2, 3), length(\"four\")}"; awk "BEGIN {\"echo piped\" | getline x; print x; print toupper(\"up\"), index(\"abc\", \"c\"), split(\"a:b:c\", p, \":\"), p[2]}"; awk "{print > \"out-\" \$1}" fruit; ls out-*; awk "BEGIN {system(\"exit 3\"); exit 4}"; echo $?; seq 100 | awk "NR % 10 == 0"; awk "BEGIN {print sin(0), exp(0), sqrt(16), int(3.9), 2**10, 7 % 3}"'
t grep 'grep apple fruit; grep -c apple fruit; grep -n r fruit; grep -v e numbers; grep -i FIG fruit; grep -E "^(p|f)" fruit; grep -o "[0-9]*" fruit; grep -r a tree | sort; grep -l pear fruit numbers; grep nothing fruit; echo $?; grep x missing; echo $?; grep -q fig fruit; echo $?; grep -w 1 fruit; grep -A1 fig fruit; fgrep . fruit; echo $?; egrep "a+" fruit | wc -l'
t fold_expand_nl_rev_tac 'echo abcdefghij | fold -w 4; printf "a\tb\n" | expand; printf "        x\n" | unexpand | cat -A 2>/dev/null || true; nl fruit; rev fruit; tac fruit'
t hexdump_od_xxd 'printf "chitin\001\377" > bin; hexdump -C bin; od -c bin; od -An -tx1 bin; xxd bin; xxd bin | xxd -r | cmp - bin; strings bin; hd bin 2>/dev/null | head -1'
t base64_uu 'base64 fruit; base64 fruit | base64 -d | cmp - fruit; uuencode fruit x | uudecode -o y; cmp fruit y; echo $?'
t checksums 'md5sum fruit; sha1sum fruit; sha256sum fruit; sha512sum fruit; sha3sum fruit; cksum fruit 2>/dev/null; crc32 fruit; sum fruit; md5sum fruit > s; md5sum -c s; echo broken >> fruit; md5sum -c s; echo $?; dd if=/dev/zero bs=64k count=64 2>/dev/null | md5sum'
t split_shuf_seq 'seq 5; seq 2 3 10; seq -s, 3; seq 3 1; seq -w 8 11; seq 1 20 | shuf | sort -n | tail -1; factor 60 97 1001'
t more_less_text 'more fruit; ascii | head -3 | wc -l; dos2unix < fruit | cmp - fruit; unix2dos < fruit | od -c | head -2; yes | head -3; yes no | head -2'
t xargs 'cat numbers | xargs; cat numbers | xargs -n 3; echo a b | xargs -n 1 echo item; printf "a b\0c" | xargs -0 -n1 echo; echo x | xargs false; echo $?; seq 3000 | xargs echo | wc -w; echo 1 2 3 | xargs -I{} echo "<{}>"; seq 4 | xargs -P 2 -n 1 true; echo $?'
t tee 'echo x | tee one two; cat one two; echo y | tee -a one; cat one; echo z | tee /dev/null/x; echo $?'
t expr_test_bc 'expr 3 + 4 \* 2; expr length chitin; expr match abc "a\(.\)"; expr 1 / 0; echo $?; [ 3 -gt 2 ]; echo $?; test -f fruit -a -d tree; echo $?; [ -L tree/right/link ]; echo $?; [ -x fruit ]; echo $?; echo "2^64; scale=5; 22/7" | bc; echo "6 7 * p" | dc'
t cal_date 'cal 2 2024; date -u -d @0; date -u -d "2024-02-29 12:34:56" +%s; date -u -d @1700000000 "+%Y-%m-%dT%H:%M:%S %j %a %b"; [ $(date +%s) -gt 1700000000 ]; echo $?; date -d nonsense; echo $?'
t vi 'printf "ggdd:wq\n" | timeout 5 vi fruit >/dev/null 2>&1; echo done'
t ed 'printf "1d\n\$a\nadded\n.\nw\nq\n" | ed fruit; cat fruit'

# Archives and compression
t tar 'tar cf t.tar tree; tar tf t.tar | sort; mkdir out; tar xf t.tar -C out; find out | sort; diff -r tree out/tree; echo $?; tar czf t.tgz tree fruit; tar tzf t.tgz | sort; tar xzf t.tgz -O fruit; tar xf missing.tar; echo $?; tar cf - tree | tar tf - | wc -l; tar cf x.tar --exclude left tree; tar tf x.tar | sort'
t gzip 'cp fruit f; gzip f; ls; gunzip f.gz; cmp f fruit; gzip -c fruit | zcat; gzip -9 < numbers | gunzip | cmp - numbers; echo broken > b.gz; gunzip b.gz; echo $?; seq 20000 | gzip | gunzip | md5sum'
t bzip2_xz_lzma 'bzip2 -c numbers | bunzip2 | cmp - numbers; cp numbers n; bzip2 n; bzcat n.bz2 | head -1; seq 5000 | bzip2 | bzcat | md5sum; printf "\3757zXZ\0\0\4\346\326\264F" > x.xz; unxz x.xz; echo $?; lzop < numbers | lzopcat 2>/dev/null | cmp - numbers'
t cpio_ar 'find tree | sort | cpio -o -H newc > c 2>/dev/null; cpio -t < c; mkdir o; cd o; cpio -id < ../c; find . | sort; cd ..; echo data > m; ar -r a.a m 2>/dev/null; ar t a.a; echo $?'
t unzip_dpkg 'unzip fruit; echo $?; dpkg-deb -c fruit; echo $?; rpm2cpio fruit >/dev/null; echo $?'

# Processes
t ps 'ps | head -1 | awk "{print \$1}"; ps -o pid,ppid,comm | awk "\$1 == 1 {print \$2}"; ps -o user,comm | grep "[s]ed" | head -1 | awk "{print \$1}"'
t kill '{ sleep 100 & kill $!; wait $!; } 2>/dev/null; echo $?; { sleep 100 & kill -9 $!; wait $!; } 2>/dev/null; echo $?; kill 99999; echo $?; kill -l 15; kill -l TERM; kill -0 $$; echo $?'
t killall_pidof 'cp /bin/busybox ./sleeper-x; ln -s sleeper-x sleep; ./sleep 100 & sleep 0.3; pidof sleep >/dev/null; echo $?; killall sleep; wait $! 2>/dev/null; echo $?; killall nosuchprogram; echo $?; pidof nosuchprogram; echo $?'
t jobs_and_wait 'sleep 0.2 & sleep 0.1 & wait; echo $?; (exit 5) & wait $!; echo $?; sh -c "kill -TERM \$\$"; echo $?; sh -c "exit 300"; echo $?; false; echo $?; true; echo $?; nosuchcommand; echo $?; ./fruit; echo $?; . ./missing; echo $?'
t pipelines 'seq 100000 | wc -l; seq 100000 | tail -1; seq 10 | (read a; read b; echo $a $b); yes | head -1; cat /dev/zero | head -c 1000000 | wc -c; echo a | cat | cat | cat | cat; seq 5 | while read x; do echo $((x * x)); done'
t shell 'x=5; echo $((x + 3 * 2)) ${x:-d} ${y:-default} ${#x}; f() { echo "in $1"; return 3; }; f arg; echo $?; for i in a b; do echo $i; done; case abc in a*) echo match;; esac; set -- p q r; echo $# $2; trap "echo trapped" EXIT; cat <<END
here $x
END
echo *; echo t*/l*; echo "a  b"; (cd tree; pwd); pwd; eval "echo evaluated"; x=$(echo sub); echo $x; [ "$x" = sub ] && echo same; exec 3>file; echo to3 >&3; cat file; echo err >&2 2>/dev/null; ulimit -n >/dev/null; echo $?; umask; readonly R=1; echo ${x%b} ${x#s}; i=0; while [ $i -lt 3 ]; do i=$((i + 1)); done; echo $i; type cd; alias; local_test() { local v=1; echo $v; }; local_test'
t shell_signals 'trap "echo got usr1" USR1; kill -USR1 $$; trap "" TERM; kill -TERM $$; echo alive; (trap - TERM; sh -c "kill -TERM \$PPID"; sleep 1; echo unreachable); echo $?; sh -c "trap \"echo bye; exit 9\" INT; kill -INT \$\$; sleep 1"; echo $?'
t background_group 'set -m; sleep 100 & kill %1; wait; echo $?; setsid sh -c "echo new session"; nohup echo hup 2>/dev/null; cat nohup.out 2>/dev/null'
t timeout 'timeout 1 sleep 10; echo $?; timeout 5 true; echo $?; timeout -s KILL 1 sleep 10; echo $?; timeout 5 sh -c "exit 6"; echo $?'
t nice_renice 'nice; nice -n 5 nice; nice -n 5 sh -c "nice"; sleep 5 & renice 3 $! >/dev/null 2>&1; echo $?; kill $!; chrt -p $$ >/dev/null 2>&1; taskset -p $$ >/dev/null 2>&1; echo $?; ionice; true'
t env_id 'env -i A=1 env; env -i sh -c "echo \$A"; A=2 env | grep ^A=; env -u PATH /bin/env | grep -c ^PATH; id; id -u; id -un nobody; whoami; groups; logname; who | wc -l; printenv A 2>/dev/null; echo $HOME'
t su_setpriv 'su nobody -s /bin/sh -c "id; cat /etc/shadow; touch /etc/x; echo \$?"; setpriv --help 2>&1 | head -1; chroot / /bin/busybox id -u; chroot /missing true; echo $?; nologin; echo $?'
t time_sleep 'sleep 0.1; echo $?; usleep 1000; echo $?; sleep x; echo $?; time true 2>&1 | awk "{print \$1}"; t0=$(date +%s); sleep 1; t1=$(date +%s); [ $((t1 - t0)) -ge 1 ] && echo slept; uptime | grep -c load'
t watch_top 'timeout 3 watch -n 1 -t echo tick 2>/dev/null | head -c 4 | grep -c tick; top -b -n 1 | grep -c PID; free | head -1 | awk "{print \$1, \$2}"; nproc | awk "{print \$1 > 0}"'
t start_stop_daemon 'start-stop-daemon -S -b -m -p pidfile -x /bin/sleep -- 50; sleep 0.5; kill -0 $(cat pidfile); echo $?; start-stop-daemon -K -q -p pidfile; echo $?; sleep 0.3; kill -0 $(cat pidfile) 2>/dev/null; echo $?'
t run_parts 'mkdir s; printf "#!/bin/sh\necho first\n" > s/01; printf "#!/bin/sh\necho second \$1\n" > s/02; chmod +x s/*; run-parts s; run-parts -a arg s; run-parts --test s'
t scripts 'printf "#!/bin/sh\necho script \$0 \$1\n" > s; chmod +x s; ./s arg; printf "#!/bin/awk -f\nBEGIN {print \"awk script\"}\n" > a; chmod +x a; ./a; printf "#!/no/such\n" > n; chmod +x n; ./n; echo $?; sh s x; printf "echo no shebang\n" > p; chmod +x p; ./p; : > e; chmod +x e; ./e; echo $?'
t getopt_which 'getopt ab:c -a -b x rest; getopt -o a -l long -- --long -a; which sh; which nosuch; echo $?; command -v awk; ipcalc -n -b 10.1.2.3/20; mkpasswd -m md5 -S abcdefgh secret'
t flock_lock 'touch l; flock l echo locked; echo $?; (flock 9; echo inside) 9>l; cttyhack echo x 2>/dev/null | tail -1; resize >/dev/null 2>&1; tty; echo $?; stty 2>/dev/null; echo $?'
t many_processes 'i=0; while [ $i -lt 100 ]; do (exit 0); i=$((i + 1)); done; echo $i; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2 & done; wait; echo waited; f() { [ $1 -gt 0 ] && (f $(($1 - 1))) || echo bottom; }; f 30'

# The system
t uname 'uname -s; uname -m; uname -n | wc -l; uname -r | grep -c "^[0-9]*\.[0-9]*"; arch; hostname | wc -l; hostid | wc -c; linux64 uname -m; linux32 uname -m'
t proc 'cat /proc/self/comm; cat /proc/self/cmdline | tr "\0" " "; echo; grep -c . /proc/self/maps | awk "{print \$1 > 3}"; grep -E "^(Name|State|Uid|Gid|Threads|PPid):" /proc/self/status | grep -v PPid; readlink /proc/self/cwd; readlink /proc/self/exe; ls /proc/self/fd | head -3; grep -c processor /proc/cpuinfo | awk "{print \$1 > 0}"; grep -c MemTotal /proc/meminfo; cut -d" " -f1 /proc/uptime | grep -c "\."; wc -w < /proc/loadavg; grep -qw tmpfs /proc/filesystems; echo $?; head -1 /proc/self/mounts | wc -w; cat /proc/self/stat | awk "{print \$2, \$3}"; [ -d /proc/$$ ]; echo $?; [ -d /proc/99999 ]; echo $?; ls -d /proc/1; cat /proc/sys/kernel/ostype; cat /proc/sys/kernel/hostname | wc -l; cat /proc/self/environ | tr "\0" "\n" | grep -c LC_ALL; cat /proc/self/limits | head -1; ls /proc/self/task | wc -l'
t dev 'for d in null zero full random urandom tty ptmx; do stat -c "%n %F %t %T" /dev/$d; done; ls -d /dev/pts /dev/shm /dev/fd; readlink /dev/stdin /dev/stdout /dev/stderr /dev/fd; head -c 5 /dev/zero | od -c; head -c 100 /dev/urandom | wc -c; echo x > /dev/full; echo $?; echo x > /dev/null; echo $?; echo shm > /dev/shm/x; cat /dev/shm/x; rm /dev/shm/x'
t sysctl 'sysctl -n kernel.ostype; sysctl nosuch.key; echo $?; cat /proc/sys/kernel/pid_max | awk "{print \$1 > 1000}"'
t mount 'mount | awk "{print \$3}" | grep -x -e / -e /proc -e /dev -e /dev/pts -e /dev/shm -e /sys | sort -u; mountpoint / >/dev/null 2>&1; grep -c " / " /proc/mounts; umount /nosuch; echo $?; [ -r /proc/self/mountinfo ]; echo $?'
t dd 'dd if=numbers bs=4 count=2 2>/dev/null; echo; dd if=numbers of=o bs=1 skip=4 count=3 2>/dev/null; cat o; echo; dd if=/dev/zero of=z bs=1M count=3 2>/dev/null; stat -c %s z; dd if=/dev/zero of=z bs=1 seek=10 count=1 conv=notrunc 2>/dev/null; stat -c %s z; dd if=missing; echo $?; echo abc | dd conv=ucase 2>/dev/null; dd if=numbers 2>&1 >/dev/null | head -1'
t losetup_like_refused 'losetup -f >/dev/null 2>&1; swapoff -a >/dev/null 2>&1; echo still here; insmod nosuch.ko; echo $?; lsmod | head -1 | wc -l; hwclock >/dev/null 2>&1; echo here'
t logger_syslog 'logger message; echo $?; w | head -1 | grep -c load; users 2>/dev/null; echo done'
t network 'ifconfig lo 2>&1 | grep -c -i loopback; ip addr 2>/dev/null | grep -c "lo:" ; ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1; echo pinged; nc -h 2>&1 | head -1 | wc -l; wget -q -O - http://127.0.0.1:1/ 2>/dev/null; echo $?; nslookup localhost >/dev/null 2>&1; echo done; netstat -l 2>/dev/null | head -1 | wc -l'
t large_directory 'mkdir many; cd many; i=0; while [ $i -lt 1000 ]; do : > f$i; i=$((i + 1)); done; ls | wc -l; ls | sort -V 2>/dev/null | tail -1; find . -name "f99*" | sort; rm f*; ls | wc -l'
t large_files 'dd if=/dev/zero of=big bs=1M count=16 2>/dev/null; md5sum big; cp big big2; cmp big big2; echo $?; cat big big2 | wc -c; tail -c 1000000 big | md5sum; rm big big2; ls'
t writing_system_files 'echo x > /etc/new; cat /etc/new; echo changed >> /etc/hosts; tail -1 /etc/hosts; mv /etc/new /etc/newer; ls /etc/new*; rm /etc/newer; mkdir /newdir; touch /newdir/f; ls /newdir; rm -r /newdir; mv /etc/group /etc/group2; ls /etc | grep group; mv /etc/group2 /etc/group; cp /bin/busybox /bin/bb2; /bin/bb2 echo copied; rm /bin/bb2; rm /etc/mtab; ls /etc/mtab; ln -s /proc/mounts /etc/mtab; mv /usr /usr2; ls -d /usr2; mv /usr2 /usr; ls -d /usr'
t dmesg_and_logs 'dmesg >/dev/null 2>&1; echo done; sync; echo $?'
t crontab_httpd 'mkdir www; echo page > www/index.html; busybox --list | wc -l | awk "{print \$1 > 200}"; busybox nosuchapplet; echo $?; busybox | head -1 | wc -l; acpid -h >/dev/null 2>&1; echo done'
t loopback_tcp 'nc -l -p 7777 -s 127.0.0.1 > got & sleep 0.5; echo over tcp | timeout 3 nc -w 2 127.0.0.1 7777; sleep 0.3; cat got; kill %1 2>/dev/null; echo end'
